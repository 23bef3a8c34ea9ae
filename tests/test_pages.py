"""What people see in a browser, but for the admin: the front page, the documentation, the browsable API."""

import pytest

from dev.environment import ORDER, PROCESSOR, Service
from tests.browser import Browser
from tests.system import System

HOST = "127.0.0.1"
BOTH = pytest.mark.parametrize("service", [ORDER, PROCESSOR], ids=lambda service: service.name)
OPERATIONS = {
    ORDER: ["List orders", "Place an order", "Read an order"],
    PROCESSOR: ["List processing records", "Read a processing record"],
}


@pytest.fixture
def browser(the_browser: Browser) -> Browser:
    the_browser.forget()
    return the_browser


def address(system: System, service: Service) -> str:
    return system.url(f"{service.name}-web")


@BOTH
def test_the_front_page_leads_to_every_door(system: System, browser: Browser, service: Service) -> None:
    browser.open(address(system, service))
    browser.screenshot(f"{service.name}-home")
    doors = {link.get_attribute("href") for link in browser.all("a")}
    browser.assert_complete(host=HOST)

    paths = ["/docs", "/redoc", "/schema", "/admin/", "/health", "/metrics"]
    paths.append("/orders" if service is ORDER else "/records")
    assert {f"{address(system, service)}{path}" for path in paths} <= doors


@BOTH
def test_swagger_ui_is_rendered_from_local_files(system: System, browser: Browser, service: Service) -> None:
    browser.open(f"{address(system, service)}/docs")
    for summary in OPERATIONS[service]:
        browser.find(".opblock-summary", text=summary)
    browser.screenshot(f"{service.name}-docs")
    browser.assert_complete(host=HOST)


def test_swagger_ui_sends_its_example_as_it_stands(system: System, browser: Browser) -> None:
    browser.open(f"{address(system, ORDER)}/docs")
    browser.click(".opblock-post .opblock-summary-control")
    browser.click(".opblock-post .execute")
    browser.find(".opblock-post .live-responses-table .response-col_status", text="201")
    browser.screenshot("order-docs-executed")
    browser.assert_complete(host=HOST)


@BOTH
def test_redoc_is_rendered_from_local_files(system: System, browser: Browser, service: Service) -> None:
    browser.open(f"{address(system, service)}/redoc")
    for summary in OPERATIONS[service]:
        browser.find("h2, h3", text=summary)
    browser.screenshot(f"{service.name}-redoc")
    browser.assert_complete(host=HOST)


def test_the_browsable_api_creates_an_order_from_its_form_as_it_stands(system: System, browser: Browser) -> None:
    browser.open(f"{address(system, ORDER)}/orders")
    browser.find("textarea[name=_content]")
    browser.screenshot("order-browsable-list")

    browser.click("form button", text="POST")
    browser.wait_for_text("HTTP 201 Created")
    browser.screenshot("order-browsable-created")
    (order, *_) = system.orders.get("/orders").json()["results"]
    assert order["id"] in browser.text
    system.wait_for_status(order["id"], "completed")

    browser.open(f"{address(system, ORDER)}/orders/{order['id']}")
    browser.wait_for_text('"completed"')
    browser.screenshot("order-browsable-detail")
    browser.assert_complete(host=HOST)


def test_the_browsable_api_shows_processing_records(system: System, browser: Browser) -> None:
    order = system.post_order()
    system.wait_for_record(order["id"])

    browser.open(f"{address(system, PROCESSOR)}/records")
    browser.wait_for_text(order["id"])
    browser.screenshot("processor-browsable-list")

    browser.open(f"{address(system, PROCESSOR)}/records/{order['id']}")
    browser.wait_for_text('"completed"')
    browser.screenshot("processor-browsable-detail")
    browser.assert_complete(host=HOST)


def test_a_page_that_is_not_there_says_so_to_a_person(system: System, browser: Browser) -> None:
    browser.open(f"{address(system, ORDER)}/order")
    browser.wait_for_text("404")
    browser.screenshot("order-not-found")
