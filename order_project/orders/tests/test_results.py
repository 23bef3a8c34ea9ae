"""services.record_results, by way of the handler table: what the processor decided becomes the status, once."""

import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Literal
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.utils import timezone
from msgspec.structs import force_setattr
from prometheus_client import REGISTRY

from contracts.events import InvalidEvent, OrderProcessed
from messaging.errors import PermanentError
from messaging.message import Message
from messaging.tests.locks import wait_until_somebody_waits_for_us
from messaging.tests.round_trips import round_trips
from orders import services
from orders.handlers import HANDLERS
from orders.models import Order
from orders.tests.factories import make_order, verdict
from orders.tests.threads import in_thread

HANDLER = HANDLERS["order.processed"]


def handle(*messages: Message[OrderProcessed]) -> None:
    """What the consumer does with a batch."""
    with transaction.atomic():
        HANDLER.handle(messages)


def state(order: Order) -> tuple[str, str | None]:
    order.refresh_from_db()
    return order.status, order.error_message


@pytest.mark.django_db
def test_a_pending_order_becomes_completed():
    order, other = make_order(), make_order()

    handle(verdict(order.id))

    assert state(order) == ("completed", None)
    assert order.updated_at > order.created_at
    assert state(other) == ("pending", None)


@pytest.mark.django_db
def test_a_pending_order_becomes_failed_and_says_why():
    order = make_order()

    handle(verdict(order.id, "failed", "The total is above the limit."))

    assert state(order) == ("failed", "The total is above the limit.")


@pytest.mark.django_db
@pytest.mark.parametrize("reason", [None, ""])
def test_a_failed_order_says_why_even_if_the_processor_does_not(reason):
    order = make_order()
    body = OrderProcessed(order_id=order.id, status="failed", error_message=reason).to_json()
    message = verdict(order.id, "failed")
    force_setattr(message, "payload", HANDLER.decode(body))

    handle(message)

    assert state(order) == ("failed", "The processor gave no reason.")


@pytest.mark.django_db
def test_each_order_of_a_batch_gets_its_own_verdict():
    orders = [make_order() for _ in range(6)]
    reasons = ["too much", None, 'a "quoted\\ one', None, None, "last"]
    handle(
        *(
            verdict(order.id, "failed" if reason else "completed", reason)
            for order, reason in zip(orders, reasons, strict=True)
        )
    )
    for order, reason in zip(orders, reasons, strict=True):
        order.refresh_from_db()
        assert (order.status, order.error_message) == ("failed" if reason else "completed", reason)


@pytest.mark.django_db
def test_a_completed_order_keeps_no_error():
    order = make_order()

    handle(verdict(order.id, "completed", "ignore me"))

    assert state(order) == ("completed", None)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("later", ["completed", "failed"])
def test_a_later_event_that_contradicts_changes_nothing_and_is_logged_as_a_warning(later, caplog):
    first: Literal["failed", "completed"] = "failed" if later == "completed" else "completed"
    order = make_order()
    handle(verdict(order.id, first))
    before = state(order), order.updated_at

    message = verdict(order.id, later)
    handle(message)

    assert (state(order), order.updated_at) == before
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.name == "orders.services"
    assert (record.order_id, record.message_id) == (order.id, message.id)
    assert (record.kept_status, record.ignored_status) == (first, later)
    assert record.correlation_id == "correlation-1"


@pytest.mark.django_db(transaction=True)
def test_a_later_event_with_another_reason_changes_nothing_and_is_logged_as_a_warning(caplog):
    order = make_order()
    handle(verdict(order.id, "failed", "too much"))

    handle(verdict(order.id, "failed", "too little"))

    assert state(order) == ("failed", "too much")
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert (record.order_id, record.kept_status, record.ignored_status) == (order.id, "failed", "failed")


@pytest.mark.django_db(transaction=True)
def test_what_is_undone_warns_of_no_event_that_was_ignored(caplog):
    order = make_order(status="completed")

    with transaction.atomic():
        HANDLER.handle([verdict(order.id, "failed")])
        transaction.set_rollback(True)

    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.django_db
@pytest.mark.parametrize("status", ["completed", "failed"])
def test_the_same_event_again_changes_nothing_silently(status, caplog):
    order = make_order()
    handle(verdict(order.id, status))
    before = state(order), order.updated_at

    handle(verdict(order.id, status))

    assert (state(order), order.updated_at) == before
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.django_db(transaction=True)
def test_within_a_batch_the_first_event_of_an_order_counts(caplog):
    order = make_order()

    handle(verdict(order.id, "failed", "first"), verdict(order.id), verdict(order.id, "failed", "first"))

    assert state(order) == ("failed", "first")
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1


@pytest.mark.django_db
def test_an_unknown_order_is_a_permanent_error_and_leaves_the_batch_undone():
    order, unknown = make_order(), uuid4()

    with pytest.raises(PermanentError, match=str(unknown)):
        handle(verdict(order.id), verdict(unknown))

    assert state(order) == ("pending", None)


@pytest.mark.django_db
def test_a_batch_takes_one_round_trip():
    handle(verdict(make_order().id))  # prepares the statement
    orders = [make_order() for _ in range(50)]
    messages = [verdict(order.id, "failed" if n % 3 else "completed") for n, order in enumerate(orders)]

    with transaction.atomic(), round_trips() as asked:
        HANDLER.handle(messages)

    assert asked == ["run"]
    assert Counter(Order.objects.values_list("status", flat=True)) == {"failed": 33, "completed": 18}


@pytest.mark.django_db
def test_a_batch_with_duplicates_takes_two_round_trips():
    orders = [make_order() for _ in range(50)]
    handle(*(verdict(order.id) for order in orders))

    with transaction.atomic(), round_trips() as asked:
        HANDLER.handle([verdict(order.id) for order in orders])

    assert asked == ["run", "SELECT orders_order id"]


@pytest.mark.django_db
def test_it_finds_the_orders_by_the_index_even_with_statistics_of_an_empty_table():
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE orders_order CASCADE")  # rows that other tests have rolled back still take room
        cursor.execute("ANALYZE orders_order")
        cursor.execute(
            """INSERT INTO orders_order (id, customer_id, total_amount, status, created_at, updated_at, correlation_id)
               SELECT gen_random_uuid(), 'c', 1, 'pending', now(), now(), '' FROM generate_series(1, 20000)"""
        )
    ids = sorted(Order.objects.values_list("id", flat=True)[:50])
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")  # as the consumer's connections have it
        cursor.execute(
            f"EXPLAIN {services._RECORD}",
            {"now": timezone.now(), "ids": ids, "failed": ids[:5], "errors": ["too much"] * 5},
        )
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert "orders_order_pkey" in plan, plan
    assert "order_status" not in plan
    assert "Seq Scan on orders_order" not in plan


@pytest.mark.django_db
def test_after_the_commit_it_counts_the_outcomes_and_logs_each_order(caplog, django_capture_on_commit_callbacks):
    caplog.set_level(logging.INFO)
    completed = make_order(at=timezone.now() - timedelta(seconds=3))
    failed = make_order()
    before = _counts()

    with django_capture_on_commit_callbacks() as callbacks:
        handle(verdict(completed.id), verdict(failed.id, "failed"))
    assert _counts() == before
    assert not caplog.records
    for callback in callbacks:
        callback()

    after = _counts()
    assert after["completed"] == before["completed"] + 1
    assert after["failed"] == before["failed"] + 1
    assert after["observed"] == before["observed"] + 2
    assert 3 <= after["seconds"] - before["seconds"] < 60
    lines = {record.order_id: record for record in caplog.records}
    assert lines[completed.id].message == "order completed"
    assert lines[failed.id].message == "order failed"
    assert lines[failed.id].correlation_id == "correlation-1"
    assert "too much" not in str([vars(record) for record in caplog.records])


@pytest.mark.django_db
def test_a_duplicate_is_not_counted(django_capture_on_commit_callbacks):
    order = make_order()
    handle(verdict(order.id))
    before = _counts()

    with django_capture_on_commit_callbacks(execute=True):
        handle(verdict(order.id))

    assert _counts() == before


@pytest.mark.django_db(transaction=True)
def test_of_two_consumers_with_the_same_orders_the_second_waits_and_changes_nothing():
    orders = [make_order() for _ in range(100)]

    def second():
        with transaction.atomic():
            handle(*(verdict(order.id, "failed") for order in reversed(orders)))

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            handle(*(verdict(order.id, "completed") for order in orders))
            waiting = pool.submit(in_thread, second)
            wait_until_somebody_waits_for_us()
        waiting.result(30)

    assert set(Order.objects.values_list("status", flat=True)) == {"completed"}


@pytest.mark.django_db
def test_no_row_of_another_status_is_written():
    pending, final = make_order(), make_order(status="completed")

    handle(verdict(pending.id), verdict(final.id))

    assert state(pending) == state(final) == ("completed", None)
    assert final.updated_at == final.created_at


@pytest.mark.parametrize("body", [b"", b"[]", b"no json", b'{"order_id": 1}', b'{"status": "completed"}'])
def test_a_body_that_does_not_hold_is_refused_before_any_handler_sees_it(body):
    with pytest.raises(InvalidEvent):
        HANDLER.decode(body)


def test_the_service_listens_to_nothing_but_results():
    assert set(HANDLERS) == {"order.processed"}


def _counts() -> dict[str, float]:
    def value(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, labels) or 0

    return {
        "completed": value("orders_final_total", outcome="completed"),
        "failed": value("orders_final_total", outcome="failed"),
        "observed": value("order_seconds_to_final_count"),
        "seconds": value("order_seconds_to_final_sum"),
    }
