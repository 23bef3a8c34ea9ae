"""The processor's book, and how the service mends its own rows."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from pytest_django.fixtures import Settings

from contracts.events import OrderCreated, OrderProcessed
from ledger.book import book
from messaging.models import OutboxMessage
from processing.ledger import announce_again, restore_records
from processing.models import ProcessingRecord
from processing.services import process_orders
from processing.tests.factories import make_message, make_record

pytestmark = pytest.mark.django_db(transaction=True)

steps_taken: list[UUID] = []


def take_note(order: OrderCreated) -> None:
    steps_taken.append(order.order_id)


def order_of(order_id: UUID, **changes: Any) -> dict[str, Any]:
    """What the order service answers for this order, as parsed from its JSON."""
    return {
        "id": str(order_id),
        "customer_id": "customer-1",
        "items": [{"product_id": "tea", "quantity": 2, "price": Decimal("23.0")}],
        "total_amount": Decimal("46.0"),
        "status": "completed",
        "error_message": None,
        "created_at": "2026-11-22T09:30:00.000000Z",
        "updated_at": "2026-11-22T09:30:01.000000Z",
        **changes,
    }


def orders(*answers: dict[str, Any]) -> Callable[[str], dict[str, Any] | None]:
    by_path = {f"/orders/{answer['id']}": answer for answer in answers}
    return by_path.get


def test_a_result_is_announced_again_as_it_was_and_by_a_new_message() -> None:
    message = make_message(items=[])
    process_orders([message])
    first = OutboxMessage.objects.get()
    first.delete()
    (before,) = ProcessingRecord.objects.values()

    assert announce_again([message.payload.order_id, uuid4()]) == 1

    again = OutboxMessage.objects.get()
    assert bytes(again.body) == bytes(first.body)
    assert OrderProcessed.from_json(bytes(again.body)).error_message == "The order has no items."
    assert (again.type, again.routing_key) == ("order.processed", "order.processed")
    assert again.correlation_id == message.correlation_id
    assert again.message_id != first.message_id
    assert list(ProcessingRecord.objects.values()) == [before]


def test_a_record_is_restored_from_the_order_and_no_step_is_taken(settings: Settings) -> None:
    settings.PROCESSING_STEPS = [f"{__name__}.take_note"]
    steps_taken.clear()
    completed, failed = uuid4(), uuid4()
    known = orders(order_of(completed), order_of(failed, status="failed", error_message="Too much."))

    assert restore_records([completed, failed], known) == 2

    record = ProcessingRecord.objects.get(order_id=completed)
    assert (record.outcome, record.reason, record.customer_id) == ("completed", "", "customer-1")
    assert (record.total_amount, record.item_count) == (Decimal("46.00"), 1)
    assert record.finished_at == record.started_at == datetime(2026, 11, 22, 9, 30, 1, tzinfo=UTC)
    assert record.order == {
        "items": [{"product_id": "tea", "quantity": 2, "price": 23.0}],
        "created_at": "2026-11-22T09:30:00.000000Z",
    }
    assert record.restored_at is not None
    assert record.message_id == UUID(int=0)
    assert ProcessingRecord.objects.get(order_id=failed).reason == "Too much."
    assert steps_taken == []
    assert not OutboxMessage.objects.exists(), "the order has its status"


def test_an_order_that_comes_after_its_record_was_restored_takes_no_effect(settings: Settings) -> None:
    settings.PROCESSING_STEPS = [f"{__name__}.take_note"]
    steps_taken.clear()
    message = make_message()
    restore_records([message.payload.order_id], orders(order_of(message.payload.order_id)))

    process_orders([message])

    assert ProcessingRecord.objects.get().restored_at is not None
    assert steps_taken == []
    assert not OutboxMessage.objects.exists()


def test_a_record_that_is_there_is_not_restored_over(caplog: pytest.LogCaptureFixture) -> None:
    record = make_record(reason="No.")

    with caplog.at_level("INFO"):
        assert restore_records([record.order_id], orders(order_of(record.order_id))) == 0

    assert ProcessingRecord.objects.get().reason == "No."
    assert "record restored" not in caplog.messages


def test_no_record_is_made_for_an_order_that_is_not_whole(caplog: pytest.LogCaptureFixture) -> None:
    bare, good = uuid4(), uuid4()

    assert restore_records([bare, good], orders(order_of(bare, items=[]), order_of(good))) == 1

    assert ProcessingRecord.objects.get().order_id == good
    assert "do not add up" in caplog.text


def test_no_record_is_made_for_an_order_that_is_pending_or_unknown() -> None:
    pending = uuid4()

    assert restore_records([pending, uuid4()], orders(order_of(pending, status="pending"))) == 0

    assert not ProcessingRecord.objects.exists()


def test_the_book_has_the_record_and_its_announcement() -> None:
    message = make_message()
    process_orders([message])

    kept, waiting = book().page().entries

    record = ProcessingRecord.objects.get()
    assert (kept.order_id, kept.place, kept.state, kept.lines) == (record.order_id, "record", "completed", 1)
    assert kept.since == record.finished_at
    assert (waiting.order_id, waiting.place, waiting.state) == (record.order_id, "outbox", "processed")
