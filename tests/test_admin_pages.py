"""The admin of both services, as an operator works with it in a browser."""

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from dev.environment import ORDER, PROCESSOR, Service
from tests.accessibility import NARROW, WIDE, assert_accessible_everywhere
from tests.broker import PROCESSOR_QUEUE
from tests.browser import Browser
from tests.system import ADMIN_USER, System

HOST = "127.0.0.1"
BOTH = pytest.mark.parametrize("service", [ORDER, PROCESSOR], ids=lambda service: service.name)


@BOTH
def test_the_admin_shows_what_the_service_keeps(system: System, browser: Browser, service: Service) -> None:
    system.wait_for_status(system.post_order()["id"], "completed")
    pages = {
        "index": "",
        "outbox": "messaging/outboxmessage/",
        "inbox": "messaging/inboxmessage/",
        "dead-letters": "messaging/deadletter/",
        "processes": "messaging/process/",
        "failed-attempts": "messaging/failedattempt/",
        "app": "messaging/",
        "users": "auth/user/",
        "user": "auth/user/1/change/",
        "new-user": "auth/user/add/",
        "password-of-a-user": "auth/user/1/password/",
        "groups": "auth/group/",
        "new-group": "auth/group/add/",
        "tokens": "authtoken/tokenproxy/",
        "new-token": "authtoken/tokenproxy/add/",
        "password": "password_change/",
        "nothing-found": "messaging/inboxmessage/?q=nothing",
    }
    for name, path in pages.items():
        browser.open(system.admin(service) + path)
        browser.find("#content")
        assert_accessible_everywhere(browser)
        browser.screenshot(f"{service.name}-admin-{name}")
    browser.assert_complete(host=HOST)


@BOTH
def test_the_login_is_for_everybody(system: System, the_browser: Browser, service: Service) -> None:
    the_browser.forget()
    the_browser.open(system.admin(service))
    the_browser.find("[name=username]")
    assert_accessible_everywhere(the_browser)
    the_browser.fill(username=ADMIN_USER, password="wrong")
    the_browser.click("[type=submit]")
    the_browser.wait_for_text("Please enter the correct username and password")
    assert_accessible_everywhere(the_browser)


@BOTH
def test_the_sidebar_leads_everywhere_and_to_the_other_service(
    system: System, browser: Browser, service: Service
) -> None:
    other = PROCESSOR if service is ORDER else ORDER
    browser.open(system.admin(service))
    browser.click("#sidebar-toggle")  # at this width it is closed
    assert_accessible_everywhere(browser)
    links = [str(link.get_attribute("href")) for link in browser.all("#nav-sidebar-apps a")]
    assert f"{system.admin(service)}messaging/deadletter/" in links
    assert system.admin(other) in links
    for link in links:
        browser.open(link)
        browser.find("h1")
    browser.assert_complete(host=HOST)


def test_an_order_is_found_from_any_page_with_the_keyboard(system: System, browser: Browser) -> None:
    order = system.post_order()
    browser.open(f"{system.admin(ORDER)}messaging/outboxmessage/")
    browser.find("#content")

    ActionChains(browser.driver).key_down(Keys.CONTROL).send_keys("k").key_up(Keys.CONTROL).perform()
    browser.find("#search-input-command").send_keys(order["id"])
    browser.find("#command-results", text=order["id"])
    assert_accessible_everywhere(browser)
    browser.screenshot("order-admin-search")
    browser.find("#search-input-command").send_keys(Keys.ARROW_DOWN, Keys.ENTER)

    browser.wait_for_text("espresso-beans-1kg")
    assert order["id"] in browser.url
    browser.assert_complete(host=HOST)


@BOTH
def test_what_lies_above_a_page_is_for_everybody(system: System, browser: Browser, service: Service) -> None:
    browser.open(f"{system.admin(service)}messaging/inboxmessage/")
    browser.find("body").send_keys("?")
    browser.wait_for_text("search this list")
    assert_accessible_everywhere(browser)
    browser.find("body").send_keys(Keys.ESCAPE)
    browser.find("body").send_keys("f")
    browser.wait_for_text("By processed at")
    assert_accessible_everywhere(browser)
    browser.screenshot(f"{service.name}-admin-filters")


@BOTH
def test_without_scripts_a_page_shows_with_its_sidebar_beside_or_below_it(
    system: System, browser: Browser, service: Service
) -> None:
    url = f"{system.admin(service)}messaging/deadletter/"  # unlike the overview, this page does not reload itself
    browser.driver.set_window_size(WIDE, 1000)
    with browser.without_scripts():
        browser.open(url)
    sidebar, content, filters = (browser.find(f"#{id}") for id in ("nav-sidebar", "content", "changelist-filter"))
    browser.screenshot(f"{service.name}-admin-without-scripts")
    assert sidebar.rect["x"] + sidebar.rect["width"] <= content.rect["x"]
    form = browser.find("#changelist-form")
    assert form.rect["x"] + form.rect["width"] <= filters.rect["x"]

    browser.driver.set_window_size(NARROW, 1000)
    browser.screenshot(f"{service.name}-admin-without-scripts-phone")
    assert content.rect["y"] + content.rect["height"] <= sidebar.rect["y"]


def test_the_dark_theme_stays_until_it_is_switched_back(system: System, browser: Browser) -> None:
    browser.open(system.admin(ORDER))
    for theme in ("Dark", "Light"):
        browser.driver.set_window_size(1440, 1000)
        browser.click("#user-tools")
        assert_accessible_everywhere(browser)
        browser.driver.set_window_size(1440, 1000)
        browser.click("nav[aria-label=Account] button", text=theme)
        browser.open(f"{system.admin(ORDER)}orders/order/")
        browser.find("html.dark" if theme == "Dark" else "html:not(.dark)")


def test_an_order_leads_to_its_processing_record_and_back(system: System, browser: Browser) -> None:
    order = system.post_order()
    system.wait_for_status(order["id"], "completed")
    failed = system.post_order(product_id="coffee-farm", quantity=1, price=150_000)
    system.wait_for_status(failed["id"], "failed")

    browser.open(f"{system.admin(ORDER)}orders/order/")
    browser.find("#result_list", text=order["customer_id"])
    assert_accessible_everywhere(browser)
    browser.screenshot("order-admin-orders")
    browser.open(f"{system.admin(ORDER)}orders/order/?q={order['id']}")
    assert len(browser.all("#result_list tbody tr")) == 1
    browser.click("#result_list tbody tr a")
    browser.wait_for_text("espresso-beans-1kg")
    assert_accessible_everywhere(browser)
    browser.screenshot("order-admin-order")

    browser.click("#content a[href*='/processing/processingrecord/']")
    browser.wait_for_text(order["id"])
    assert browser.url.startswith(system.admin(PROCESSOR))
    browser.screenshot("processor-admin-records-of-order")
    if browser.all("#result_list tbody tr a"):
        assert len(browser.all("#result_list tbody tr")) == 1
        browser.click("#result_list tbody tr a")
    browser.wait_for_text(order["customer_id"])
    assert_accessible_everywhere(browser)
    browser.screenshot("processor-admin-record")

    browser.click("#content a[href*='/orders/order/'][href$='/change/']")
    browser.wait_for_text("espresso-beans-1kg")
    assert browser.url.startswith(system.admin(ORDER))
    browser.open(f"{system.admin(ORDER)}orders/order/{failed['id']}/change/")
    browser.wait_for_text("limit")
    assert_accessible_everywhere(browser)
    browser.screenshot("order-admin-order-failed")
    browser.assert_complete(host=HOST)


def test_a_dead_letter_is_found_read_and_replayed(system: System, browser: Browser) -> None:
    correlation_id = "replayed-in-the-browser"
    system.restart("processor-consume", SIMULATED_FAILURE_RATE="1")
    order = system.post_order(correlation_id=correlation_id)
    letter = system.wait_for_dead_letter(PROCESSOR, correlation_id=correlation_id)
    system.restart("processor-consume")
    letters = f"{system.admin(PROCESSOR)}messaging/deadletter/"

    browser.open(f"{letters}?q={correlation_id}")
    assert len(browser.all("#result_list tbody tr")) == 1
    assert_accessible_everywhere(browser)
    browser.screenshot("processor-admin-dead-letters-found")
    browser.click("#result_list tbody tr a")
    browser.wait_for_text(f"Simulated failure of order {order['id']}")
    assert_accessible_everywhere(browser)
    browser.screenshot("processor-admin-dead-letter")

    browser.open(f"{letters}?q={correlation_id}")
    browser.click("#result_list .action-select")
    browser.click("select[name=action] option", text="Replay…")
    assert_accessible_everywhere(browser)
    browser.click("button[name=index]")
    browser.wait_for_text("Replay 1 dead letter?")
    assert_accessible_everywhere(browser)
    browser.screenshot("processor-admin-dead-letter-confirm")
    assert system.record(order["id"]) is None
    browser.click("#content [type=submit]", text="Yes, replay")
    browser.wait_for_text("of 1 dead letter has begun.")
    browser.wait_for_text("1 handled.")
    assert_accessible_everywhere(browser)
    browser.screenshot("processor-admin-replay")

    system.wait_for_status(order["id"], "completed")
    browser.open(f"{letters}{letter['id']}/change/")
    browser.wait_for_text(f"Replayed by {ADMIN_USER}")
    assert_accessible_everywhere(browser)
    browser.screenshot("processor-admin-dead-letter-settled")
    browser.assert_complete(host=HOST)


def test_what_was_garbage_is_shown_harmlessly(system: System, browser: Browser) -> None:
    correlation_id = "harmless"
    system.broker.publish(
        b'<script>document.title = "taken over"</script>\x00\xff',
        routing_key=PROCESSOR_QUEUE,
        correlation_id=correlation_id,
        type='<script>document.title = "taken over"</script>',
    )
    letter = system.wait_for_dead_letter(PROCESSOR, correlation_id=correlation_id)

    browser.open(f"{system.admin(PROCESSOR)}messaging/deadletter/")
    browser.wait_for_text("<script>")
    assert_accessible_everywhere(browser)
    browser.screenshot("processor-admin-dead-letters-garbage")
    browser.open(f"{system.admin(PROCESSOR)}messaging/deadletter/{letter['id']}/change/")
    browser.wait_for_text("taken over")
    assert_accessible_everywhere(browser)
    browser.screenshot("processor-admin-dead-letter-garbage")

    assert browser.driver.title != "taken over"  # the script would have set just this title
    browser.assert_complete(host=HOST)
