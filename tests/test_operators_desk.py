"""A night on call: orders fail; somebody who knows nothing of them finds out why, mends it, and sees them completed.

Only by the pages, starting at the first one: each step is a link or a button on them.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.environment import ORDER, PROCESSOR
from tests.accessibility import assert_accessible_everywhere
from tests.browser import Browser
from tests.system import ADMIN_USER, System, new_customer

HOST = "127.0.0.1"
FAULTY = {
    "PYTHONPATH": str(Path(__file__).parent / "own_steps"),
    "PROCESSING_STEPS": "processing.steps.validate,own_steps.reserve",
}
RELEASED = ("processor-web", "processor-consume")
"""The processes that run the steps' code: the web server makes the dry runs."""


@pytest.fixture
def system(own_system: System) -> System:
    own_system.heal()
    return own_system


@pytest.fixture
def faulty(system: System) -> Iterator[System]:
    """The system, with a release of the processor that has a fault in one of its steps."""
    for name in RELEASED:
        system.restart(name, **FAULTY)
    yield system
    system.heal()


def test_orders_that_a_fault_held_up_are_found_understood_mended_and_completed(
    faulty: System, browser: Browser
) -> None:
    system = faulty
    customer = f"unlucky-{new_customer()}"
    orders = [system.post_order(customer_id=customer)["id"] for _ in range(8)]
    for order in orders:
        system.wait_for_dead_letter(PROCESSOR, subject=order)

    # The first page of the processor says that something is wrong, and leads there.
    browser.open(system.admin(PROCESSOR))
    browser.wait_for_text("could not be handled")
    browser.screenshot("desk-1-overview")
    assert_accessible_everywhere(browser)
    browser.click("#content a", text="RuntimeError")

    # The group says where, since when, and how many.
    browser.wait_for_text("own_steps.reserve")
    browser.wait_for_text("The stock service answers with nothing")
    browser.wait_for_text("8 of them wait")
    browser.click("#content button", text="I look at it")
    browser.wait_for_text(f"{ADMIN_USER} looks at it")
    browser.screenshot("desk-2-group")
    assert_accessible_everywhere(browser)
    group = browser.url

    # Each try is recorded, with its error and what came next.
    browser.open(f"{system.admin(PROCESSOR)}messaging/failedattempt/?q={orders[0]}")
    browser.wait_for_text("tried again after 200ms")
    browser.wait_for_text("given up: a dead letter")
    assert len(browser.all("#result_list tbody tr")) == 3
    assert_accessible_everywhere(browser)
    browser.click("#result_list tbody tr a")
    browser.find("#content a", text="own_steps.reserve")
    browser.screenshot("desk-attempt")
    assert_accessible_everywhere(browser)

    browser.open(group)
    # Before the repair a dry run says that a replay would fail again, and changes nothing.
    browser.click("#content button", text="Dry run")
    browser.wait_for_text("would fail")
    browser.screenshot("desk-3-dry-run")
    assert_accessible_everywhere(browser)
    assert [system.record(order) for order in orders] == [None] * 8

    # With the repaired release the dry run passes, the canary goes first, and all others follow.
    for name in RELEASED:
        system.restart(name)
    browser.open(group)
    browser.click("#content button", text="Dry run")
    browser.wait_for_text("would pass")
    browser.click("#content button", text="Replay…")
    browser.fill(reason="The stock service is asked properly now.")
    browser.screenshot("desk-4-confirm")
    assert_accessible_everywhere(browser)
    browser.click("#content [type=submit]", text="Yes, replay")
    browser.wait_for_text("8 handled")  # by itself: nobody loads the page again
    browser.screenshot("desk-5-replay")
    assert_accessible_everywhere(browser)
    browser.open(group)
    browser.click("#content button", text="Resolved")
    browser.wait_for_text(f"Resolved by {ADMIN_USER}")

    # Each order is completed, once, and its timeline tells the whole story.
    assert {order["status"] for order in system.wait_until_final(customer)} == {"completed"}
    assert len(system.records_of(customer)) == 8
    browser.open(f"{system.admin(ORDER)}orders/order/?q={orders[0]}")
    browser.click("#result_list a", text="Timeline")
    browser.wait_for_text("Try 3 failed, given up")
    browser.wait_for_text("The stock service is asked properly now.")
    browser.screenshot("desk-6-timeline")
    assert_accessible_everywhere(browser)
    browser.assert_complete(host=HOST)
