"""The flight recorder: what happened to an order in both services, over the API, on the page, in the terminal."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.environment import ORDER, PROCESSOR, SERVICES
from tests.accessibility import NARROW, WIDE, assert_accessible_everywhere
from tests.browser import Browser
from tests.system import System, new_correlation_id, new_customer

HOST = "127.0.0.1"
OWN_STEPS = {
    "PYTHONPATH": str(Path(__file__).parent / "own_steps"),
    "PROCESSING_STEPS": "processing.steps.validate,own_steps.reserve",
}


@pytest.fixture
def unlucky(system: System) -> Iterator[dict[str, Any]]:
    """An order on which a step of the processor fails until the processor's consumer is started without that step."""
    system.restart("processor-consume", **OWN_STEPS)
    correlation_id = new_correlation_id()
    order = system.post_order(customer_id=f"unlucky-{new_customer()}", correlation_id=correlation_id)
    yield {**order, "correlation_id": correlation_id}
    system.heal()


def timeline(system: System, order_id: str) -> dict[str, Any]:
    answer = system.orders.get(f"/orders/{order_id}/timeline")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def kinds(told: dict[str, Any]) -> list[str]:
    return [event["kind"] for event in told["events"]]


def page(system: System, order_id: str) -> str:
    return f"{system.admin(ORDER)}orders/order/{order_id}/timeline/"


def screenshot_of_a_phone(browser: Browser) -> None:
    """Takes one of the page that is shown, in dark colours."""
    url = browser.url
    browser.driver.execute_script("localStorage.setItem('adminTheme', JSON.stringify('dark'))")
    browser.driver.set_window_size(NARROW, 1000)
    browser.open(url)
    browser.find(".timeline")
    browser.screenshot("order-admin-timeline-phone")
    browser.driver.execute_script("localStorage.setItem('adminTheme', JSON.stringify('light'))")
    browser.driver.set_window_size(WIDE, 1000)
    browser.open(url)


def test_an_order_that_went_well_is_told_from_its_acceptance_to_its_end(system: System, browser: Browser) -> None:
    correlation_id = new_correlation_id()
    order = system.post_order(correlation_id=correlation_id)
    system.wait_for_status(order["id"], "completed")

    told = timeline(system, order["id"])

    assert kinds(told) == ["accepted", "published", "received", "decided", "final"]
    assert [event["service"] for event in told["events"]] == ["orders", "orders", "processor", "processor", "orders"]
    assert all(event["seconds_since_previous"] >= 0 for event in told["events"][1:])
    assert (told["is_whole"], told["notes"], told["waits_for"]) == (True, [], None)
    assert told["correlation_id"] == correlation_id
    assert told["summary"].startswith("Completed ")
    assert json.loads(system.manage(ORDER, "trace", order["id"], "--json")) == told
    assert "Decided: completed" in system.manage(PROCESSOR, "trace", order["id"])

    browser.open(f"{system.url('order-web')}/admin/orders/order/?q={order['id']}")
    browser.click("#result_list a", text="Timeline")
    browser.wait_for_text("How it ended")
    assert browser.url == page(system, order["id"])
    browser.open(f"{system.url('processor-web')}/admin/processing/processingrecord/{order['id']}/change/")
    browser.click("#content a", text="Timeline of the order")
    browser.wait_for_text("How it ended")
    assert browser.url == page(system, order["id"])
    browser.screenshot("order-admin-timeline")
    assert len(browser.all(".timeline-step")) == 5
    browser.assert_complete(host=HOST)


def test_an_order_that_a_step_cannot_bear_leads_to_its_dead_letter_and_then_to_its_end(
    system: System, browser: Browser, unlucky: dict[str, Any]
) -> None:
    letter = system.wait_for_dead_letter(PROCESSOR, correlation_id=unlucky["correlation_id"])

    told = timeline(system, unlucky["id"])

    assert told["status"] == "pending"
    assert told["waits_for"] == {
        "service": "processor",
        "text": "A dead letter of the processor waits for somebody: "
        "RuntimeError: The stock service answers with nothing",
        "link": f"messaging/deadletter/{letter['id']}/change/",
    }
    tries = [event for event in told["events"] if event["kind"] == "tried"]
    assert [event["title"] for event in tries] == [
        "Try 1 failed, waits 200ms",
        "Try 2 failed, waits 700ms",
        "Try 3 failed, given up",
    ]
    assert {event["detail"]["place"] for event in tries} == {"own_steps.reserve"}
    assert "Traceback" not in json.dumps(told)
    assert unlucky["customer_id"] not in json.dumps(told)

    browser.open(page(system, unlucky["id"]))
    browser.wait_for_text("What it waits for now")
    browser.click("details summary")
    browser.screenshot("order-admin-timeline-waiting")
    assert_accessible_everywhere(browser)
    screenshot_of_a_phone(browser)
    browser.click(".timeline-now a.desk-primary")
    browser.wait_for_text("own_steps")
    assert browser.url.endswith(f"/messaging/deadletter/{letter['id']}/change/")
    browser.open(page(system, unlucky["id"]))

    system.restart("processor-consume")
    system.manage(PROCESSOR, "dead_letters", "replay", str(letter["id"]), "--yes")

    browser.wait_for_text("Completed")  # by itself: nobody loads the page again
    browser.wait_for_text("does not refresh itself")
    browser.screenshot("order-admin-timeline-replayed")
    browser.assert_complete(host=HOST)
    told = timeline(system, unlucky["id"])
    assert told["status"] == "completed"
    told_kinds = kinds(told)
    assert told_kinds.index("accepted") < told_kinds.index("tried") < told_kinds.index("dead_letter")
    (settled,) = [kind for kind in told_kinds if kind in {"action", "settled"}]
    assert told_kinds.index("dead_letter") < told_kinds.index(settled) < told_kinds.index("decided")


def test_while_the_processors_api_is_away_the_order_service_tells_its_half(system: System) -> None:
    order = system.post_order()
    system.wait_for_status(order["id"], "completed")
    system.stop("processor-web")

    told = timeline(system, order["id"])

    assert kinds(told) == ["accepted", "final"]
    assert told["is_whole"] is False
    assert "The processor does not answer" in told["notes"][0]
    assert "Note: The processor does not answer" in system.manage(ORDER, "trace", order["id"])


def test_an_order_that_is_in_no_service_ends_the_command_with_an_error(system: System) -> None:
    nobodys = "019ac5f2-8d0b-7c3e-9a51-6f2b8e4d7a10"

    for service in SERVICES:
        assert "This service knows no order" in system.manage(service, "trace", nobodys, fails=True)
        assert system.run_command(service, "trace", nobodys).returncode == 1
