"""What people see in a browser, except the admin: the front page, the documentation, the browsable API."""

from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from selenium.webdriver.common.keys import Keys

from dev.environment import ORDER, PROCESSOR, Service
from tests.accessibility import NARROW, WIDE, assert_accessible
from tests.browser import Browser
from tests.system import ADMIN_PASSWORD, ADMIN_USER, System

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


def open_the_form(system: System, browser: Browser) -> None:
    """Opens the form on the list of orders. While there is no order, it is open already."""
    browser.open(f"{address(system, ORDER)}/orders")
    if browser.find("#send").get_attribute("open") is None:
        browser.click("#send summary", text="Place an order")


def assert_everybody_can_use(browser: Browser) -> None:
    """Asserts that the page is accessible in light and dark, wide and narrow, and never wider than the screen."""
    size = browser.driver.get_window_size()
    try:
        for theme in ("light", "dark"):
            browser.prefer(theme)
            for width in (NARROW, WIDE):
                browser.driver.set_window_size(width, size["height"])
                assert_accessible(browser)
                wanted = browser.driver.execute_script("return document.documentElement.scrollWidth")
                assert wanted <= width, f"{browser.url} in {theme} is {wanted} wide"
    finally:
        browser.prefer("light")
        browser.driver.set_window_size(size["width"], size["height"])


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


def test_an_order_is_placed_from_the_form_as_it_stands_and_followed_until_it_is_final(
    system: System, browser: Browser
) -> None:
    open_the_form(system, browser)
    browser.screenshot("order-browsable-list")
    browser.click("#send button", text="Place an order")
    browser.find("#outcome", text="201 Created")
    browser.find("#readable .desk-badge", text="completed")  # the page follows the order by itself
    browser.screenshot("order-browsable-created")
    (order, *_) = system.orders.get("/orders").json()["results"]
    assert browser.find("#outcome a").get_attribute("href") == f"{address(system, ORDER)}/orders/{order['id']}"
    assert_everybody_can_use(browser)

    browser.click("#outcome a")
    browser.wait_for_text("One order, and what has become of it.")
    browser.find("#readable .desk-badge", text="completed")
    browser.find("#answer .json", text='"completed"')
    browser.screenshot("order-browsable-detail")
    assert_everybody_can_use(browser)
    browser.click(".links a", text="Timeline")
    browser.find("h1", text="Timeline")
    browser.assert_complete(host=HOST)


def test_the_page_of_an_order_that_waits_follows_it_until_it_is_final(system: System, browser: Browser) -> None:
    system.stop("processor-consume")
    order = system.post_order()
    browser.open(f"{address(system, ORDER)}/orders/{order['id']}")
    browser.find("#readable .desk-badge", text="pending")
    browser.find(".follow", text="the page follows it")
    browser.find(".links a", text="Wait for the end")
    browser.screenshot("order-browsable-pending")
    assert_everybody_can_use(browser)

    system.start("processor-consume")
    browser.find("#readable .desk-badge", text="completed")
    browser.find(".follow", text="It has changed since the page was opened.")
    browser.find("#answer .json", text='"completed"')
    assert "pending" not in browser.text
    browser.assert_complete(host=HOST)


def test_the_example_above_the_limit_fails_and_the_page_says_why(system: System, browser: Browser) -> None:
    open_the_form(system, browser)
    browser.click("#send button", text="Above the limit")
    browser.click("#send button.primary")
    browser.find("#readable .desk-badge", text="failed")
    assert "is above the limit of 100000.00" in browser.find("#readable").text
    browser.assert_complete(host=HOST)


def test_a_body_that_is_refused_shows_where_it_is_wrong_and_stays_in_the_form(system: System, browser: Browser) -> None:
    before = system.orders.get("/orders").json()["results"]
    open_the_form(system, browser)
    browser.click("#send button", text="Two mistakes")
    browser.fill(_content='{"customer_id": "ann",\n"items": [\n{"product_id": "p", "price": 1,\n"quantity": 0}]}')
    browser.click("#send button.primary")

    browser.find("#outcome", text="422 Unprocessable Content")
    assert "items › 1st › quantity" in browser.find("#outcome").text
    browser.screenshot("order-browsable-refused")
    browser.click("#outcome a", text="quantity")
    marked = (
        "const area = document.querySelector('#send textarea');"
        "return area.value.slice(area.selectionStart, area.selectionEnd)"
    )
    assert browser.driver.execute_script(marked) == '"quantity": 0}]}'
    assert_everybody_can_use(browser)
    assert system.orders.get("/orders").json()["results"] == before

    # What was typed can be corrected and sent again.
    area = browser.find("#send textarea")
    area.clear()
    area.send_keys('{"customer_id": "ann", "items": [{"product_id": "p", "price": 1, "quantity": 1}]}')
    browser.click("#send button.primary")
    browser.find("#outcome", text="201 Created")


def test_the_form_sends_an_idempotency_key(system: System, browser: Browser) -> None:
    key = uuid4().hex
    open_the_form(system, browser)
    browser.find("[data-header='Idempotency-Key']").send_keys(key)
    browser.click("#send button.primary")
    browser.find("#outcome", text="201 Created")
    first = browser.find("#outcome a").text
    browser.click("#send button.primary")  # the key and the body are still there
    browser.find("#outcome", text="first answer again")
    assert browser.find("#outcome a").text == first
    browser.click("#send .command summary")
    assert f"Idempotency-Key: {key}" in browser.find("[data-command]").text
    browser.assert_complete(host=HOST)


def test_a_form_that_gets_no_answer_says_so_and_keeps_what_was_typed(system: System, browser: Browser) -> None:
    open_the_form(system, browser)
    browser.driver.execute_script("document.querySelector('#send form').action = 'http://127.0.0.1:1/orders'")
    browser.fill(_content="my own text")
    browser.click("#send button.primary")
    browser.find("#send [role=status]", text="Not sent, or not answered")
    assert browser.find("#send textarea").get_attribute("value") == "my own text"


def test_who_logs_in_places_orders_in_their_name_and_comes_back_to_the_page(system: System, browser: Browser) -> None:
    browser.open(f"{address(system, ORDER)}/orders")
    browser.click("header a", text="Log in")
    browser.fill(username=ADMIN_USER, password=ADMIN_PASSWORD)
    browser.click("[type=submit]")
    browser.find("header .person", text=ADMIN_USER)
    assert urlsplit(browser.url).path == "/orders"

    open_the_form(system, browser)
    browser.click("#send button.primary")
    browser.find("#outcome", text="201 Created")
    browser.find("#readable .desk-badge", text="completed")
    browser.screenshot("order-browsable-signed-in")
    assert_everybody_can_use(browser)

    browser.click("header .person button", text="Log out")
    browser.find("header a", text="Log in")
    assert urlsplit(browser.url).path == "/orders"
    browser.assert_complete(host=HOST)


def test_options_are_one_press_away(system: System, browser: Browser) -> None:
    browser.open(f"{address(system, ORDER)}/orders")
    browser.click("button", text="OPTIONS")
    browser.find("#answer .json", text='"parses"')
    assert_everybody_can_use(browser)
    browser.click("#answer summary", text="Request and headers")
    assert browser.find("#answer .headers").text.startswith("OPTIONS /orders")
    browser.assert_complete(host=HOST)


def test_a_batch_shows_what_became_of_each_order(system: System, browser: Browser) -> None:
    browser.open(f"{address(system, ORDER)}/orders/batch")
    browser.screenshot("order-browsable-batch")
    browser.click("#send button", text="One of them wrong")
    browser.click("#send button.primary")
    browser.find("#readable table", text="items › 1st › price")
    browser.screenshot("order-browsable-batch-answered")
    assert_everybody_can_use(browser)
    browser.click("#readable table a")
    browser.wait_for_text("One order, and what has become of it.")


def test_filters_narrow_the_list_and_its_pages_say_how_far_they_reach(system: System, browser: Browser) -> None:
    customer = f"customer-{uuid4().hex}"
    placed = [system.post_order(customer_id=customer) for _ in range(3)]
    browser.open(f"{address(system, ORDER)}/orders")
    browser.fill(customer_id=customer, page_size="2")
    browser.click(".filters button", text="Filter")
    browser.wait_for_text("2 on this page")
    assert urlsplit(browser.url).query == f"customer_id={customer}&page_size=2"  # without empty parameters
    assert browser.find("[name=customer_id]").get_attribute("value") == customer
    assert [row.text for row in browser.all("tbody td:nth-child(3)")] == [placed[2]["id"], placed[1]["id"]]
    assert "The newest are here, older ones follow." in browser.text
    browser.screenshot("order-browsable-filtered")
    assert_everybody_can_use(browser)

    browser.click("a", text="Older")
    browser.find("tbody", text=placed[0]["id"])
    assert "The oldest are here." in browser.text
    assert placed[1]["id"] not in browser.text
    browser.click("a", text="Newest")
    browser.find("tbody", text=placed[2]["id"])
    browser.click(".filters a", text="Clear")
    browser.find("#results-title", text="Newest first")
    assert urlsplit(browser.url).query == ""
    browser.assert_complete(host=HOST)


@pytest.mark.parametrize(
    ("service", "path", "wrong"),
    [(ORDER, "/orders?status=open", "status"), (PROCESSOR, "/records?outcome=done", "outcome")],
)
def test_a_filter_that_is_wrong_says_so_at_its_field(
    system: System, browser: Browser, service: Service, path: str, wrong: str
) -> None:
    browser.open(f"{address(system, service)}{path}")
    browser.find("#outcome", text="422 Unprocessable Content")
    assert "is not a valid choice" in browser.find(".control.wrong").text
    assert browser.find(f"[name={wrong}]").get_attribute("aria-invalid") == "true"
    browser.screenshot(f"{service.name}-browsable-wrong-filter")
    assert_everybody_can_use(browser)


@pytest.mark.parametrize(
    ("service", "path"),
    [
        (ORDER, "/"),
        (ORDER, "/health"),
        (ORDER, "/orders"),
        (ORDER, "/orders/batch"),
        (ORDER, "/orders/1"),
        (ORDER, "/no/such/page"),
        (PROCESSOR, "/"),
        (PROCESSOR, "/records"),
        (PROCESSOR, "/records/1"),
    ],
)
def test_everybody_can_use_every_page(system: System, browser: Browser, service: Service, path: str) -> None:
    browser.open(f"{address(system, service)}{path}")
    browser.find("h1")
    assert_everybody_can_use(browser)


def test_the_content_can_be_skipped_to_with_the_keyboard(system: System, browser: Browser) -> None:
    browser.open(f"{address(system, ORDER)}/orders")
    browser.find("body").send_keys(Keys.TAB)
    assert browser.driver.switch_to.active_element.text == "Skip to the content"
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.url.endswith("#main")


def test_the_browsable_api_shows_processing_records(system: System, browser: Browser) -> None:
    order = system.post_order()
    system.wait_for_record(order["id"])

    browser.open(f"{address(system, PROCESSOR)}/records")
    browser.wait_for_text(order["id"])
    browser.screenshot("processor-browsable-list")

    browser.open(f"{address(system, PROCESSOR)}/records/{order['id']}")
    browser.find("#answer .json", text='"completed"')
    browser.screenshot("processor-browsable-detail")
    assert_everybody_can_use(browser)
    browser.assert_complete(host=HOST)


def test_a_page_that_is_not_there_says_so_to_a_person(system: System, browser: Browser) -> None:
    browser.open(f"{address(system, ORDER)}/order")
    browser.wait_for_text("404")
    browser.screenshot("order-not-found")
    browser.click("main a", text="Orders")
    browser.find("#results-title")
