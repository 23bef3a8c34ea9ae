"""What the broker, or somebody else on it, may bring: duplicates, and messages without an envelope."""

from uuid import uuid4

import pytest

from dev.environment import ORDER
from tests.broker import EXCHANGE, ORDER_QUEUE, PROCESSOR_QUEUE, Event, Tap
from tests.events import order_created, order_processed
from tests.system import System


def the_one_decision(system: System, tap: Tap, order_id: str) -> Event:
    """What was announced about an order, once the outboxes are empty: nothing more can come."""
    system.wait_for_empty_outboxes()
    (event, *repeated) = tap.events("order.processed", order_id)
    assert {again.message_id for again in repeated} <= {event.message_id}
    return event


# --- Duplicates


def test_a_message_delivered_ten_more_times_takes_effect_once(system: System) -> None:
    duplicates = ("processor-consume", "messaging_duplicates_total")
    with system.broker.tap() as tap:
        order = system.post_order()
        final = system.wait_for_status(order["id"], "completed")
        record = system.record(order["id"])
        (event,) = tap.events("order.created", order["id"])
        before = system.metric(*duplicates, type="order.created")

        system.broker.publish_all(
            [(event.body, vars(event.properties))] * 10, exchange=EXCHANGE, routing_key="order.created"
        )

        system.wait(
            lambda: system.metric(*duplicates, type="order.created") == before + 10, "ten duplicates are recognised"
        )
        the_one_decision(system, tap, order["id"])
    assert system.record(order["id"]) == record
    assert system.order(order["id"]) == final
    assert len(system.records_of(order["customer_id"])) == 1


def test_another_message_about_the_same_order_takes_no_effect(system: System) -> None:
    with system.broker.tap() as tap:
        order = system.post_order()
        final = system.wait_for_status(order["id"], "completed")
        record = system.record(order["id"])
        (event,) = tap.events("order.created", order["id"])
        again = str(uuid4())

        # Above the limit this time: if it were processed, it would fail.
        body = {**event.body, "total_amount": 200_000.0}
        system.broker.publish(
            body, exchange=EXCHANGE, routing_key="order.created", message_id=again, type="order.created"
        )

        consume = system.programs["processor-consume"]
        system.wait(lambda: consume.lines(message_id=again), "the second message is handled")
        the_one_decision(system, tap, order["id"])
    assert system.record(order["id"]) == record
    assert system.order(order["id"]) == final


def test_a_later_contradicting_result_changes_nothing_and_is_warned_about(system: System) -> None:
    final = system.wait_for_status(system.post_order()["id"], "completed")
    again = str(uuid4())

    system.broker.publish(
        order_processed(final["id"], status="failed", error_message="no"),
        exchange=EXCHANGE,
        routing_key="order.processed",
        message_id=again,
        type="order.processed",
    )

    consume = system.programs["order-consume"]
    system.wait(lambda: consume.lines(message_id=again, level="WARNING"), "a warning about the contradiction")
    assert system.order(final["id"]) == final


# --- No envelope


@pytest.mark.parametrize("way", [("", PROCESSOR_QUEUE), (EXCHANGE, "order.created")], ids=["queue", "exchange"])
def test_a_plain_order_without_an_envelope_is_processed(system: System, way: tuple[str, str]) -> None:
    exchange, routing_key = way
    order_id = str(uuid4())
    with system.broker.tap() as tap:
        system.broker.publish(order_created(order_id), exchange=exchange, routing_key=routing_key)

        record = system.wait_for_record(order_id)
        assert (record["outcome"], record["attempts"]) == ("completed", 1)
        result = the_one_decision(system, tap, order_id)
    # The order service has never heard of this one, and says so.
    letter = system.wait_for_dead_letter(ORDER, message_id=result.message_id)
    assert (letter["error_type"], letter["attempts"]) == ("PermanentError", 1)
    assert order_id in letter["error_message"]


def test_a_plain_order_that_is_sent_twice_is_processed_once(system: System) -> None:
    order_id = str(uuid4())
    body = order_created(order_id)
    with system.broker.tap() as tap:
        system.broker.publish_all([(body, {}), (body, {})], routing_key=PROCESSOR_QUEUE)

        system.wait_for_record(order_id)
        system.wait(lambda: not system.broker.waiting(), "the queues are empty")
        the_one_decision(system, tap, order_id)


@pytest.mark.parametrize("way", [("", ORDER_QUEUE), (EXCHANGE, "order.processed")], ids=["queue", "exchange"])
def test_a_plain_result_without_an_envelope_is_kept(system: System, way: tuple[str, str]) -> None:
    exchange, routing_key = way
    system.stop("processor-consume")  # a test decides instead
    order = system.post_order()

    system.broker.publish(
        order_processed(order["id"], status="failed", error_message="out of stock"),
        exchange=exchange,
        routing_key=routing_key,
    )

    assert system.wait_for_status(order["id"], "failed")["error_message"] == "out of stock"


def test_fields_that_nobody_knows_are_ignored(system: System) -> None:
    order_id = str(uuid4())

    system.broker.publish(order_created(order_id, gift_wrapping=True), exchange=EXCHANGE, routing_key="order.created")

    assert system.wait_for_record(order_id)["outcome"] == "completed"
