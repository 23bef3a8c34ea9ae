"""Messages that cannot be handled: they are tried again, kept as dead letters, and replayed by an operator."""

import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from dev.environment import ORDER, PROCESSOR
from tests.broker import PROCESSOR_QUEUE
from tests.system import ADMIN_PASSWORD, ADMIN_USER, System, new_customer
from tests.waiting import BOUND, eventually

ALWAYS_FAILS = {"SIMULATED_FAILURE_RATE": "1"}
OWN_STEPS = {
    "PYTHONPATH": str(Path(__file__).parent / "own_steps"),
    "PROCESSING_STEPS": "processing.steps.validate,own_steps.refuse,own_steps.crash",
}
DELIVERY_LIMIT = 20
"""The work queue's: how often the broker delivers again a message that was never answered."""


def test_a_transient_failure_succeeds_on_a_later_rung(system: System) -> None:
    # The last rung is longer than the restart may take.
    ladder = {"MESSAGING_RETRY_DELAYS": "200ms,700ms,3s,20s"}
    system.restart("processor-consume", **ALWAYS_FAILS, **ladder)
    consume = system.programs["processor-consume"]
    with system.broker.tap() as tap:
        order = system.post_order(correlation_id="a-later-rung")
        retried = system.wait(
            lambda: consume.lines(message="message will be retried", correlation_id="a-later-rung", retry_in="3s"),
            "it is sent to the third rung",
        )
        assert [line["attempt"] for line in retried] == [3]
        assert system.order(order["id"])["status"] == "pending"
        assert system.record(order["id"]) is None

        system.restart("processor-consume", **ladder)
        system.wait_for_status(order["id"], "completed")

        record = system.wait_for_record(order["id"])
        assert record["attempts"] in (4, 5)  # 5 when the restart has taken longer than the third rung
        # It was the same message all the way.
        assert {record["message_id"]} == {event.message_id for event in tap.events("order.created", order["id"])}
        assert len(tap.decisions()[order["id"]]) == 1
    assert not system.dead_letters(PROCESSOR, status="all", correlation_id="a-later-rung")


def replay_by_command(system: System, number: int) -> None:
    said = system.manage(PROCESSOR, "dead_letters", "replay", str(number), "--by", ADMIN_USER)
    assert "1 dead letter replayed" in said


def replay_in_the_admin(system: System, number: int) -> None:
    with httpx.Client(base_url=system.url("processor-web"), timeout=30, follow_redirects=True) as browser:
        log_in(browser)
        action = {"action": "replay_selected", "_selected_action": str(number)}
        asked = post_form(browser, "/admin/messaging/deadletter/", **action)
        assert "Replay 1 dead letter?" in asked.text
        assert [letter["id"] for letter in system.dead_letters(PROCESSOR) if letter["id"] == number], "not yet settled"
        answered = post_form(
            browser, "/admin/messaging/deadletter/", **action, confirmed="yes", ids=str(number), rate="50", canary="on"
        )
        assert "of 1 dead letter has begun." in answered.text


@pytest.mark.parametrize("replay", [replay_by_command, replay_in_the_admin])
def test_what_fails_for_good_waits_among_the_dead_letters_until_it_is_replayed(
    system: System, replay: Callable[[System, int], None]
) -> None:
    correlation_id = f"for-good-{replay.__name__}"
    system.restart("processor-consume", **ALWAYS_FAILS)
    with system.broker.tap() as tap:
        order = system.post_order(correlation_id=correlation_id)
        letter = system.wait_for_dead_letter(PROCESSOR, correlation_id=correlation_id)
        assert (letter["status"], letter["type"]) == ("waiting", "order.created")
        assert (letter["error_type"], letter["queue"]) == ("TransientError", PROCESSOR_QUEUE)
        assert letter["attempts"] == 3  # the first, and one after each of the two rungs
        assert order["id"] in letter["error_message"]
        assert letter["first_failed_at"] < letter["last_failed_at"]
        assert system.record(order["id"]) is None
        assert system.order(order["id"])["status"] == "pending"

        system.restart("processor-consume")
        replay(system, letter["id"])

        system.wait_for_status(order["id"], "completed")
        assert system.wait_for_record(order["id"])["message_id"] == letter["message_id"]
        (settled,) = system.dead_letters(PROCESSOR, status="all", correlation_id=correlation_id)
        assert (settled["status"], settled["settled_by"]) == ("replayed", ADMIN_USER)
        # To replay what is settled sends nothing.
        said = system.manage(PROCESSOR, "dead_letters", "replay", str(letter["id"]), fails=True)
        assert f"was replayed by {ADMIN_USER}" in said
        system.wait_for_empty_outboxes()
        assert len(tap.decisions()[order["id"]]) == 1


def test_a_permanent_error_of_an_own_step_is_a_dead_letter_at_once(system: System) -> None:
    system.restart("processor-consume", **OWN_STEPS)
    order = system.post_order(customer_id=f"refused-{new_customer()}", correlation_id="refused")

    letter = system.wait_for_dead_letter(PROCESSOR, correlation_id="refused")

    assert (letter["error_type"], letter["attempts"]) == ("PermanentError", 1)
    assert order["customer_id"] in letter["error_message"]
    assert not system.programs["processor-consume"].lines(
        message="message will be retried", message_id=letter["message_id"]
    )
    assert system.order(order["id"])["status"] == "pending"

    system.restart("processor-consume")
    replay_by_command(system, letter["id"])
    system.wait_for_status(order["id"], "completed")


def test_a_message_that_kills_its_process_again_and_again_takes_no_other_with_it(system: System) -> None:
    waiting = ("processor-web", "messaging_dead_letters_waiting")
    before = system.metric(*waiting)
    system.restart("processor-consume", **OWN_STEPS)
    consume = system.programs["processor-consume"]
    innocent = [system.post_order() for _ in range(5)]
    poison = system.post_order(customer_id=f"poison-{new_customer()}", correlation_id="poison")
    innocent += [system.post_order() for _ in range(5)]

    deaths = 0

    def it_is_given_up() -> bool:
        nonlocal deaths
        if not consume.is_running:
            deaths += 1
            consume.start(OWN_STEPS)  # as a supervisor does
        return system.metric(*waiting) > before

    # Each death costs a start of the process.
    eventually(it_is_given_up, "the poison is a dead letter", within=4 * BOUND)

    assert deaths == DELIVERY_LIMIT + 1
    letter = system.wait_for_dead_letter(PROCESSOR, correlation_id="poison")
    assert (letter["error_type"], letter["attempts"]) == ("DeliveryLimitExceeded", 1)
    assert system.record(poison["id"]) is None
    for order in innocent:
        system.wait_for_status(order["id"], "completed")
        assert system.wait_for_record(order["id"])["attempts"] == 1
    assert system.metric(*waiting) == before + 1


def test_a_dead_letter_that_fails_again_is_the_same_one_once_more(system: System) -> None:
    correlation_id = "fails-again"
    system.restart("processor-consume", **ALWAYS_FAILS)
    order = system.post_order(correlation_id=correlation_id)
    letter = system.wait_for_dead_letter(PROCESSOR, correlation_id=correlation_id)

    replay_by_command(system, letter["id"])

    again = system.wait_for_dead_letter(PROCESSOR, correlation_id=correlation_id, occurrences=2)
    assert (again["id"], again["status"]) == (letter["id"], "waiting")
    assert again["first_failed_at"] == letter["first_failed_at"]
    system.manage(PROCESSOR, "dead_letters", "discard", str(letter["id"]), "--by", ADMIN_USER)
    (settled,) = system.dead_letters(PROCESSOR, status="all", correlation_id=correlation_id)
    assert (settled["status"], settled["settled_by"]) == ("discarded", ADMIN_USER)
    assert system.order(order["id"])["status"] == "pending"


def test_a_result_for_an_unknown_order_is_a_dead_letter_at_once(system: System) -> None:
    system.broker.publish(
        {"order_id": "01890000-0000-7000-8000-000000000000", "status": "completed", "error_message": None},
        exchange="orders",
        routing_key="order.processed",
        correlation_id="unknown-order",
    )

    letter = system.wait_for_dead_letter(ORDER, correlation_id="unknown-order")

    assert (letter["error_type"], letter["attempts"]) == ("PermanentError", 1)
    assert "01890000-0000-7000-8000-000000000000" in letter["error_message"]


def log_in(browser: httpx.Client) -> None:
    credentials = {"username": ADMIN_USER, "password": ADMIN_PASSWORD, "next": "/admin/"}
    assert "Log out" in post_form(browser, "/admin/login/", **credentials).text


def post_form(browser: httpx.Client, path: str, **fields: str) -> httpx.Response:
    """Sends a form as a browser does: with the token that came with the page."""
    (token, *_) = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', browser.get(path).text)
    answer = browser.post(path, data={"csrfmiddlewaretoken": token, **fields})
    assert answer.status_code == 200, answer.text
    return answer
