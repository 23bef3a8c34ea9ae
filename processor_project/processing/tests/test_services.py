"""Each order is decided once, with one record and one announcement, or nothing happens at all."""

import itertools
import json
import logging
from datetime import datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction
from prometheus_client import REGISTRY
from pytest_django import DjangoCaptureOnCommitCallbacks
from pytest_django.fixtures import Settings

from contracts.events import OrderCreated, OrderProcessed
from messaging import outbox
from messaging.errors import PermanentError, TransientError
from messaging.models import OutboxMessage
from messaging.process import set_up_connection
from messaging.tests.plans import generic_plan
from messaging.tests.round_trips import round_trips
from observability import context
from processing import services
from processing.handlers import HANDLERS
from processing.models import ProcessingRecord
from processing.services import process_orders
from processing.tests.factories import make_message, make_record

pytestmark = pytest.mark.django_db

failing: dict[UUID, Exception] = {}
contexts: list[tuple[str, str]] = []


@pytest.fixture(autouse=True)
def nothing_left_over() -> None:
    failing.clear()
    contexts.clear()


def fail_some(order: OrderCreated) -> None:
    if error := failing.get(order.order_id):
        raise error


def write_to_the_database(order: OrderCreated) -> None:
    Group.objects.create(name=f"{order.order_id} {Group.objects.count()}")


def remember_the_context(order: OrderCreated) -> None:
    contexts.append((context.current_correlation_id(), context.current_traceparent()))


def path_of(step: Any) -> str:
    return f"{__name__}.{step.__name__}"


def announced() -> dict[UUID, OrderProcessed]:
    """The announcements in the outbox by their order; each order at most once."""
    events = [OrderProcessed.from_json(bytes(row.body)) for row in OutboxMessage.objects.all()]
    by_order = {event.order_id: event for event in events}
    assert len(by_order) == len(events)
    return by_order


def count(metric: str, outcome: str) -> float:
    return REGISTRY.get_sample_value(metric, {"outcome": outcome}) or 0.0


def test_a_sound_order_is_completed_recorded_and_announced() -> None:
    message = make_message(attempt=3)

    process_orders([message])

    record = ProcessingRecord.objects.get()
    assert record.order_id == message.payload.order_id
    assert record.outcome == ProcessingRecord.Outcome.COMPLETED
    assert record.reason == ""
    assert record.customer_id == "customer-1"
    assert record.total_amount == Decimal("46.00")
    assert record.item_count == 1
    assert record.attempts == 3
    assert record.message_id == message.id
    assert record.correlation_id == message.correlation_id
    assert record.started_at <= record.finished_at
    assert announced() == {record.order_id: OrderProcessed(order_id=record.order_id, status="completed")}


def test_an_order_that_breaks_a_rule_is_failed_with_the_reason() -> None:
    message = make_message(items=[])

    process_orders([message])

    record = ProcessingRecord.objects.get()
    assert record.outcome == ProcessingRecord.Outcome.FAILED
    assert record.reason == "The order has no items."
    assert announced()[record.order_id] == OrderProcessed(
        order_id=record.order_id, status="failed", error_message="The order has no items."
    )


def test_the_announcement_carries_the_correlation_id_and_goes_on_with_the_trace() -> None:
    message = make_message()

    with context.bind(correlation_id="something-else"):
        process_orders([message])

    row = OutboxMessage.objects.get()
    assert row.type == row.routing_key == "order.processed"
    assert row.exchange == "orders"
    assert row.correlation_id == message.correlation_id
    assert row.message_id != message.id
    assert row.headers["schema-version"] == 1
    version, trace, span, flags = row.headers["traceparent"].split("-")
    assert (version, trace, flags) == ("00", "0af7651916cd43dd8448eb211c80319c", "01")
    assert span != "b7ad6b7169203331"
    assert json.loads(bytes(row.body)) == {
        "order_id": str(message.payload.order_id),
        "status": "completed",
        "error_message": None,
    }


def test_a_batch_is_decided_with_as_few_round_trips_as_one_order() -> None:
    messages = [make_message() for _ in range(150)] + [make_message(items=[]) for _ in range(50)]
    process_orders([make_message()])  # prepares the statements

    with round_trips() as asked:
        process_orders(messages)

    # One for those that are decided already; one for the records and announcements.
    assert asked == ["run", "run"]
    assert ProcessingRecord.objects.filter(outcome="completed").count() == 151
    assert ProcessingRecord.objects.filter(outcome="failed").count() == 50
    assert announced().keys() > {message.payload.order_id for message in messages}


def test_the_relay_is_called_when_the_decisions_are_committed(
    monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    called: list[bool] = []
    monkeypatch.setattr(outbox, "wake_relay", lambda: called.append(True))

    with django_capture_on_commit_callbacks(execute=True):
        process_orders([make_message(), make_message()])
        assert not called

    assert called == [True]


def test_nothing_to_do_is_nothing_done() -> None:
    process_orders([])

    assert not ProcessingRecord.objects.exists()
    assert not OutboxMessage.objects.exists()


def test_two_messages_for_one_order_in_a_batch_take_effect_once() -> None:
    first = make_message()
    second = make_message(order_id=first.payload.order_id, items=[])

    process_orders([first, make_message(), second])

    record = ProcessingRecord.objects.get(order_id=first.payload.order_id)
    assert (record.message_id, record.outcome) == (first.id, "completed")
    assert ProcessingRecord.objects.count() == len(announced()) == 2


def test_a_later_message_for_a_decided_order_changes_nothing_and_says_nothing() -> None:
    first = make_message()
    process_orders([first])
    kept = ProcessingRecord.objects.values().get()
    OutboxMessage.objects.all().delete()  # as the relay does

    process_orders([make_message(order_id=first.payload.order_id, items=[], attempt=2)])

    assert ProcessingRecord.objects.values().get() == kept
    assert not OutboxMessage.objects.exists()


def test_a_decided_order_runs_through_no_step_again(settings: Settings) -> None:
    settings.PROCESSING_STEPS = [path_of(write_to_the_database)]
    first = make_message()
    process_orders([first])

    again = [make_message(order_id=first.payload.order_id) for _ in range(2)]
    process_orders([*again, make_message()])

    assert Group.objects.count() == ProcessingRecord.objects.count() == 2


def test_a_decided_order_in_a_batch_does_not_hold_back_the_others() -> None:
    decided = make_record(reason="No.")
    others = [make_message() for _ in range(3)]

    process_orders([others[0], make_message(order_id=decided.order_id), *others[1:]])

    assert announced().keys() == {message.payload.order_id for message in others}
    assert ProcessingRecord.objects.get(order_id=decided.order_id).reason == "No."


@pytest.mark.parametrize("error", [TransientError("away"), PermanentError("never"), ZeroDivisionError()])
def test_a_step_that_fails_leaves_no_trace_of_the_whole_batch(settings: Settings, error: Exception) -> None:
    settings.PROCESSING_STEPS = [path_of(write_to_the_database), path_of(fail_some)]
    messages = [make_message() for _ in range(3)]
    failing[messages[1].payload.order_id] = error

    with pytest.raises(type(error)), transaction.atomic():
        process_orders(messages)

    assert not ProcessingRecord.objects.exists()
    assert not OutboxMessage.objects.exists()
    assert not Group.objects.exists()


def test_a_message_that_failed_is_decided_when_it_comes_again(settings: Settings) -> None:
    settings.PROCESSING_STEPS = [path_of(fail_some)]
    message = make_message()
    failing[message.payload.order_id] = TransientError("away")
    with pytest.raises(TransientError), transaction.atomic():
        process_orders([message])

    failing.clear()
    process_orders([make_message(message_id=message.id, order_id=message.payload.order_id, attempt=2)])

    assert ProcessingRecord.objects.get().attempts == 2
    assert len(announced()) == 1


def test_the_steps_see_the_ids_of_their_own_order(settings: Settings) -> None:
    settings.PROCESSING_STEPS = [path_of(remember_the_context)]
    messages = [make_message() for _ in range(3)]

    process_orders(messages)

    assert contexts == [(message.correlation_id, message.traceparent) for message in messages]
    assert context.current_correlation_id() == ""


def test_an_order_is_decided_also_while_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = itertools.count()
    clock = SimpleNamespace(now=lambda zone: datetime.now(zone) - timedelta(hours=next(hours)))
    monkeypatch.setattr(services, "datetime", clock)

    process_orders([make_message()])

    assert ProcessingRecord.objects.get().duration_ms >= 0


@pytest.mark.parametrize("records", [5, 50])
def test_decided_orders_are_found_by_their_key_even_by_a_plan_made_when_they_were_few(records: int) -> None:
    for _ in range(records):
        make_record()
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {ProcessingRecord._meta.db_table}")
    set_up_connection(connection=connection)

    plan = generic_plan(services._DECIDED, "'{}'")

    assert "processing_processingrecord_pkey" in plan, plan
    assert not any(index.name in plan for index in ProcessingRecord._meta.indexes)


def test_each_order_is_one_log_line_with_its_ids(
    caplog: pytest.LogCaptureFixture, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    caplog.set_level(logging.INFO, logger="processing.services")
    messages = [make_message(attempt=2), make_message(items=[])]

    with django_capture_on_commit_callbacks(execute=True):
        process_orders(messages)

    (record,) = caplog.records
    assert record.message == "order processed"
    for line, message, outcome in zip(vars(record)["each"], messages, ["completed", "failed"], strict=True):
        assert line["order_id"] == message.payload.order_id
        assert line["message_id"] == message.id
        assert line["correlation_id"] == message.correlation_id
        assert line["outcome"] == outcome
        assert line["attempt"] == message.attempt
        assert line["duration_ms"] >= 0
        assert "customer-1" not in str(line)


def test_an_order_that_comes_again_is_logged_as_such(
    caplog: pytest.LogCaptureFixture, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    caplog.set_level(logging.INFO, logger="processing.services")
    decided = make_record()
    message = make_message(order_id=decided.order_id)

    with django_capture_on_commit_callbacks(execute=True):
        process_orders([message])

    (line,) = (vars(line) for line in caplog.records)
    assert line["message"] == "order was processed before, nothing done"
    assert line["order_id"] == decided.order_id
    assert line["message_id"] == message.id


def test_orders_are_counted_by_outcome_once_they_are_committed(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    before = {outcome: count("orders_processed_total", outcome) for outcome in ("completed", "failed")}
    timed = count("order_processing_seconds_count", "completed")

    with django_capture_on_commit_callbacks(execute=True):
        process_orders([make_message(), make_message(), make_message(items=[])])
        assert count("orders_processed_total", "completed") == before["completed"]

    assert count("orders_processed_total", "completed") == before["completed"] + 2
    assert count("orders_processed_total", "failed") == before["failed"] + 1
    assert count("order_processing_seconds_count", "completed") == timed + 2


def test_what_is_rolled_back_is_neither_counted_nor_logged(
    caplog: pytest.LogCaptureFixture, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    caplog.set_level(logging.INFO, logger="processing.services")
    before = count("orders_processed_total", "completed")

    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        process_orders([make_message()])
        transaction.set_rollback(True)

    assert count("orders_processed_total", "completed") == before
    assert caplog.records == []


def test_the_handler_table_takes_created_orders_and_nothing_else() -> None:
    assert HANDLERS.keys() == {"order.created"}
    message = make_message()
    handler = HANDLERS["order.created"]

    assert handler.decode(message.payload.to_json()) == message.payload
    assert handler.schema_versions == {1}
    handler.handle([message])

    assert ProcessingRecord.objects.get().order_id == message.payload.order_id
