"""The first page of the admin, left open in a browser while things happen."""

import pytest
from selenium.webdriver.common.by import By

from dev.environment import ORDER, PROCESSOR, Service
from tests.accessibility import assert_accessible_everywhere
from tests.browser import Browser
from tests.system import System
from tests.waiting import eventually

HOST = "127.0.0.1"
BOTH = pytest.mark.parametrize("service", [ORDER, PROCESSOR], ids=lambda service: service.name)
PATIENCE = 120
"""Seconds within which a page that refreshes every five must show something, on a busy machine."""
HOLD_ANSWERS = """
    const real = window.fetch;
    window.fetch = async (...asked) => {
        window.fetch = real;
        const answer = await real(...asked), text = await answer.text();
        await new Promise((release) => { window.release = release; });
        answer.text = async () => { window.wasRead = true; return text; };
        return answer;
    };
"""
"""Holds back the next answer that a script asks for until somebody calls `release`."""


@pytest.fixture
def system(own_system: System) -> System:
    own_system.heal()
    return own_system


def wait_until_it_says(browser: Browser, text: str) -> None:
    """Waits without reloading the page: it must refresh itself."""

    def look() -> bool:
        # In one step, since the page replaces its content meanwhile.
        return text in str(browser.driver.execute_script("return document.getElementById('content').innerText"))

    eventually(look, f"the overview says {text!r}", within=PATIENCE)


@BOTH
def test_the_overview_follows_what_happens_without_being_loaded_again(
    system: System, browser: Browser, service: Service
) -> None:
    browser.open(system.admin(service))
    browser.driver.execute_script("window.isTheSamePage = true; document.getElementById('overview-table').open = true")
    orders = [system.post_order() for _ in range(3)]
    failed = system.post_order(product_id="coffee-farm", quantity=1, price=150_000)
    for order in orders:
        system.wait_for_status(order["id"], "completed")
    system.wait_for_status(failed["id"], "failed")

    wait_until_it_says(browser, "Refreshed at")
    wait_until_it_says(browser, "All is well.")
    eventually(lambda: len(browser.all(".overview-plot svg a")) > 1, "the plots have bars", within=PATIENCE)

    assert browser.driver.execute_script("return window.isTheSamePage") is True
    assert browser.driver.execute_script("return document.getElementById('overview-table').open") is True
    browser.click("#overview-pause", text="Pause")
    wait_until_it_says(browser, "Paused.")
    browser.screenshot(f"{service.name}-overview")
    assert_accessible_everywhere(browser)
    browser.click(
        ".overview-figures a[href*='status__exact=failed'], .overview-figures a[href*='outcome__exact=failed']"
    )
    browser.wait_for_text(failed["customer_id"])
    browser.assert_complete(host=HOST)


def test_when_the_consumer_ends_the_page_says_so_and_what_to_start(system: System, browser: Browser) -> None:
    browser.open(system.admin(PROCESSOR))
    wait_until_it_says(browser, "All is well.")

    system.stop("processor-consume")

    wait_until_it_says(browser, "No consumer runs.")
    assert "python manage.py consume" in browser.text
    browser.click("#overview-pause", text="Pause")
    browser.screenshot("processor-overview-no-consumer")
    assert_accessible_everywhere(browser)
    browser.click("#overview-pause", text="Go on")
    system.heal()
    wait_until_it_says(browser, "All is well.")


def test_dead_letters_are_shown_and_lead_to_themselves(system: System, browser: Browser) -> None:
    correlation_id = "seen-in-the-overview"
    system.restart("processor-consume", SIMULATED_FAILURE_RATE="1")
    system.post_order(correlation_id=correlation_id)
    letter = system.wait_for_dead_letter(PROCESSOR, correlation_id=correlation_id)
    system.restart("processor-consume")

    browser.open(system.admin(PROCESSOR))
    wait_until_it_says(browser, "could not be handled")
    browser.click("#overview-pause", text="Pause")
    browser.screenshot("processor-overview-dead-letters")
    assert_accessible_everywhere(browser)
    browser.click(".overview-verdict a", text="could not be handled")
    browser.find(f"#result_list a[href*='/{letter['id']}/change/']")
    system.manage(PROCESSOR, "dead_letters", "replay", str(letter["id"]), "--yes")
    browser.assert_complete(host=HOST)


def test_what_arrives_after_somebody_has_paused_is_not_shown(system: System, browser: Browser) -> None:
    browser.open(system.admin(ORDER))
    wait_until_it_says(browser, "Refreshed at")
    browser.driver.execute_script(HOLD_ANSWERS)
    eventually(lambda: browser.driver.execute_script("return !!window.release"), "an answer is held", within=PATIENCE)
    browser.click("#overview-pause", text="Pause")
    browser.driver.execute_script("document.getElementById('overview').firstElementChild.id = 'as-it-was'")

    browser.driver.execute_script("window.release()")

    eventually(lambda: browser.driver.execute_script("return !!window.wasRead"), "the answer is read")
    assert browser.find("#overview-state").text.startswith("Paused.")
    assert browser.all("#as-it-was")
    browser.click("#overview-pause", text="Go on")
    eventually(lambda: not browser.all("#as-it-was"), "it goes on", within=PATIENCE)


def test_a_page_that_cannot_refresh_says_so_and_goes_on_when_it_can(system: System, browser: Browser) -> None:
    browser.open(system.admin(ORDER))
    wait_until_it_says(browser, "Refreshed at")

    system.stop("order-web")
    wait_until_it_says(browser, "Could not refresh")
    assert "the service cannot be reached" in browser.text
    assert browser.driver.find_element(By.ID, "overview").text  # what it knew is still there
    browser.screenshot("order-overview-not-refreshed")

    system.heal()
    wait_until_it_says(browser, "Refreshed at")


def test_a_page_whose_login_has_ended_says_so(system: System, browser: Browser) -> None:
    browser.open(system.admin(ORDER))
    wait_until_it_says(browser, "Refreshed at")

    browser.driver.delete_all_cookies()

    wait_until_it_says(browser, "you are logged out")
    assert "All is well" in browser.text or "look at" in browser.text
