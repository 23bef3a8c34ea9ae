"""What an operator does about dead letters, in a browser: try, replay step by step, mend, resume, edit."""

from pathlib import Path

import pytest

from dev.environment import PROCESSOR
from tests.accessibility import NARROW, assert_accessible_everywhere
from tests.browser import Browser
from tests.system import ADMIN_USER, System, new_customer

HOST = "127.0.0.1"
OWN_STEPS = {
    "PYTHONPATH": str(Path(__file__).parent / "own_steps"),
    "PROCESSING_STEPS": "processing.steps.validate,own_steps.refuse",
}


@pytest.fixture
def system(own_system: System) -> System:
    own_system.heal()
    return own_system


def test_a_replay_stops_by_itself_and_goes_on_when_the_step_is_mended(system: System, browser: Browser) -> None:
    for name in ("processor-consume", "processor-web"):
        system.restart(name, **OWN_STEPS)
    orders = [system.post_order(customer_id=f"refused-{new_customer()}{'x' * 150}")["id"] for _ in range(8)]
    system.wait(
        lambda: {letter["subject"] for letter in system.dead_letters(PROCESSOR)} >= set(orders), "all are dead letters"
    )

    # It is found by its order, and from there all that failed in the same way.
    browser.open(f"{system.admin(PROCESSOR)}messaging/deadletter/?q={orders[0]}")
    browser.click("#result_list tbody tr a")
    browser.click(".desk-link", text="own_steps.refuse")
    browser.click("button", text="Dry run")
    browser.wait_for_text("8 would fail")
    assert "in own_steps.refuse" in browser.text
    # What failed can be read without scrolling, even if it has a long word.
    tried = browser.find(".desk-scroll:has(td.desk-words)")
    assert browser.driver.execute_script("return arguments[0].scrollWidth <= arguments[0].clientWidth", tried)
    assert_accessible_everywhere(browser)
    browser.screenshot("processor-admin-dry-run")

    # If it is replayed all the same, the replay stops by itself after one message.
    browser.click("button", text="Replay…")
    browser.wait_for_text("Replay 8 dead letters?")
    assert_accessible_everywhere(browser)
    browser.screenshot("processor-admin-replay-confirm")
    browser.fill(reason="It works again, says the warehouse")
    browser.click("button", text="Yes, replay")
    browser.wait_for_text("The same failure came back")
    assert "1 failed again" in browser.text
    assert "7 not sent" in browser.text
    assert_accessible_everywhere(browser)
    browser.screenshot("processor-admin-replay-stopped")
    assert all(system.order(order)["status"] == "pending" for order in orders)

    for name in ("processor-consume", "processor-web"):
        system.restart(name)
    browser.driver.refresh()
    browser.fill(reason="The step is mended")
    browser.click("button", text="Resume")
    browser.wait_for_text("7 handled, 1 failed again.")
    assert_accessible_everywhere(browser)
    browser.screenshot("processor-admin-replay-finished")

    # The message that failed again is a dead letter like any other.
    browser.click("a", text="look at why")
    browser.click("#part-messages td a")
    browser.click("button", text="Replay…")
    browser.wait_for_text("1 would pass")
    browser.click("button", text="Yes, replay")
    browser.wait_for_text("1 handled.")
    for order in orders:
        system.wait_for_status(order, "completed")
    assert not [letter for letter in system.dead_letters(PROCESSOR) if letter["subject"] in orders]

    # On a phone there is room for words in the columns that have sentences and names.
    browser.driver.set_window_size(NARROW, 1000)
    lists = (("replay", "how why"), ("failedattempt", "about error"), ("operatoraction", "about message"))
    for model, columns in lists:
        browser.open(f"{system.admin(PROCESSOR)}messaging/{model}/")
        for column in columns.split():
            assert browser.find(f"#result_list td.field-{column}").rect["width"] >= 250, (model, column)


def test_the_page_of_a_replay_refreshes_around_what_somebody_does_until_they_are_logged_out(
    system: System, browser: Browser
) -> None:
    system.restart("processor-consume", **OWN_STEPS)
    order = system.post_order(customer_id=f"refused-{new_customer()}")["id"]
    letter = system.wait_for_dead_letter(PROCESSOR, subject=order)
    system.stop("processor-consume")  # so that the replay waits
    system.manage(PROCESSOR, "dead_letters", "replay", str(letter["id"]), "--canary", "--no-wait", "--yes")
    browser.open(f"{system.admin(PROCESSOR)}messaging/replay/")
    browser.click("#result_list tbody tr a")
    browser.wait_for_text("No consumer is alive")
    browser.driver.set_window_size(NARROW, 1000)

    # As if the table and the buttons had changed in the meantime.
    browser.fill(reason="Because")
    browser.driver.execute_script("""
        document.querySelector('#part-buttons label').append('old');
        document.querySelector('#part-messages h2').append('old');
        document.querySelector('#part-messages .desk-scroll').scrollLeft = 60;
    """)
    browser.wait_for_text("old")
    system.wait(lambda: "old" not in browser.text, "the page has refreshed itself")

    assert browser.driver.execute_script("return document.activeElement.id") == "reason"
    assert browser.find("#reason").get_attribute("value") == "Because"
    assert (
        browser.driver.execute_script("return document.querySelector('#part-messages .desk-scroll').scrollLeft") == 60
    )
    browser.driver.delete_all_cookies()
    browser.wait_for_text("you are logged out")

    system.heal()
    system.wait_for_status(order, "completed")


def test_a_message_that_can_never_be_handled_is_edited(system: System, browser: Browser) -> None:
    system.restart("processor-consume", **OWN_STEPS)
    customer = new_customer()
    with system.broker.tap() as tap:
        order = system.post_order(customer_id=f"refused-{customer}")["id"]
        letter = system.wait_for_dead_letter(PROCESSOR, subject=order)

        page = f"{system.admin(PROCESSOR)}messaging/deadletter/{letter['id']}/change/"
        browser.open(page)
        browser.click("a", text="Edit and replay")
        body = browser.find("textarea").get_attribute("value") or ""
        assert_accessible_everywhere(browser)
        browser.screenshot("processor-admin-edit")

        browser.fill(body=body.replace('"quantity"', '"quantities"'))
        browser.click("button", text="Check it")
        browser.wait_for_text("missing required field `quantity`")
        browser.fill(body=body.replace(order, "0190d3a4-5b6c-7d8e-9fa0-b1c2d3e4f506"))
        browser.click("button", text="Check it")
        browser.wait_for_text("What a message is about cannot be changed.")

        browser.fill(body=body.replace(f"refused-{customer}", customer))
        browser.click("button", text="Check it")
        browser.wait_for_text("1 would pass")
        assert f'"customer_id": "{customer}"' in browser.find(".desk-diff-added").text
        assert_accessible_everywhere(browser)
        browser.screenshot("processor-admin-edit-difference")
        browser.fill(reason="This customer moved")
        browser.click("button", text="Replay the edited message")
        browser.wait_for_text("Superseded by")
        assert_accessible_everywhere(browser)

        system.wait_for_status(order, "completed")
        # To replay the original by its number changes nothing any more.
        said = system.manage(PROCESSOR, "dead_letters", "replay", str(letter["id"]), fails=True)
        assert f"was superseded by {ADMIN_USER}" in said
        system.wait_for_empty_outboxes()
        assert len(tap.decisions()[order]) == 1
    assert system.wait_for_record(order)["message_id"] == letter["message_id"]
