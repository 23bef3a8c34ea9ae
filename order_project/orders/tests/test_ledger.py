"""The order service's book, and how the service mends its own rows."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import transaction

from contracts.events import OrderCreated
from ledger.book import Fetch, book
from messaging.models import OutboxMessage
from messaging.tests.locks import wait_until_somebody_waits_for_us
from orders.ledger import announce_again, restore_items, restore_orders
from orders.models import Order, OrderItem
from orders.services import place_order, record_results
from orders.tests.factories import NEW_ORDER, make_order, verdict
from orders.tests.threads import in_thread

pytestmark = pytest.mark.django_db(transaction=True)


def record_of(order_id: UUID, **changes: Any) -> dict[str, Any]:
    """The processor's record of this order, as parsed from its JSON."""
    return {
        "order_id": str(order_id),
        "outcome": "completed",
        "reason": None,
        "customer_id": "customer-1",
        "total_amount": Decimal("46.0"),
        "correlation_id": "request-1",
        "finished_at": "2026-11-22T09:30:01.000000Z",
        "order": {
            "items": [
                {"product_id": "beans", "quantity": 2, "price": Decimal("18.5")},
                {"product_id": "filters", "quantity": 1, "price": Decimal("9.0")},
            ],
            "created_at": "2026-11-22T09:30:00Z",
        },
        **changes,
    }


class Processor:
    """Answers from a table, by path."""

    def __init__(self, *records: dict[str, Any]) -> None:
        self._records = {f"/records/{record['order_id']}": record for record in records}

    def __call__(self, path: str) -> dict[str, Any] | None:
        return self._records.get(path)


def lines_of(order_id: UUID) -> list[tuple[str, int, Decimal]]:
    return list(OrderItem.objects.filter(order=order_id).values_list("product_id", "quantity", "price"))


def placed(**of: Any) -> Order:
    return Order.objects.get(id=place_order(NEW_ORDER, **of).order.order_id)


def test_an_order_is_announced_again_as_it_was_and_by_a_new_message(caplog: pytest.LogCaptureFixture) -> None:
    order = placed()
    first = OutboxMessage.objects.get()
    first.delete()

    with caplog.at_level("INFO"):
        assert announce_again([order.id]) == 1

    again = OutboxMessage.objects.get()
    assert bytes(again.body) == bytes(first.body)
    assert (again.type, again.exchange, again.routing_key) == (first.type, first.exchange, first.routing_key)
    assert again.correlation_id == order.correlation_id
    assert again.message_id != first.message_id
    assert OrderCreated.from_json(bytes(again.body)).order_id == order.id
    assert "order announced again" in caplog.messages


def test_only_orders_that_are_still_pending_are_announced_again() -> None:
    pending, completed = make_order(), make_order(status="completed")

    assert announce_again([pending.id, completed.id, uuid4()]) == 1

    assert OrderCreated.from_json(bytes(OutboxMessage.objects.get().body)).order_id == pending.id


def test_an_order_that_is_decided_at_that_moment_is_not_announced_again() -> None:
    order = make_order()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            record_results([verdict(order.id)])
            repair = pool.submit(in_thread, lambda: announce_again([order.id]))
            wait_until_somebody_waits_for_us()
        assert repair.result(30) == 0

    assert not OutboxMessage.objects.exists()


def test_an_order_that_is_not_whole_is_not_announced(caplog: pytest.LogCaptureFixture) -> None:
    order = make_order(items=2)
    OrderItem.objects.filter(position=0).delete()

    assert announce_again([order.id]) == 0

    assert not OutboxMessage.objects.exists()
    assert "its items do not add up" in caplog.text


def test_an_order_is_restored_from_its_record() -> None:
    order_id = uuid4()
    failed = record_of(uuid4(), outcome="failed", reason="Too much.")

    assert restore_orders([order_id, UUID(failed["order_id"])], Processor(record_of(order_id), failed)) == 2

    order = Order.objects.get(id=order_id)
    assert (order.status, order.error_message, order.customer_id) == ("completed", None, "customer-1")
    assert (order.total_amount, order.correlation_id) == (Decimal("46.00"), "request-1")
    assert order.created_at == datetime(2026, 11, 22, 9, 30, 0, tzinfo=UTC)
    assert order.updated_at == datetime(2026, 11, 22, 9, 30, 1, tzinfo=UTC)
    assert (order.placed_by, order.idempotency_key) == (None, None)
    assert lines_of(order_id) == [("beans", 2, Decimal("18.50")), ("filters", 1, Decimal("9.00"))]
    assert Order.objects.get(id=failed["order_id"]).error_message == "Too much."
    assert not OutboxMessage.objects.exists(), "it is decided already"


def test_an_order_is_restored_with_as_much_of_its_correlation_id_as_is_kept_of_any() -> None:
    order_id = uuid4()

    assert restore_orders([order_id], Processor(record_of(order_id, correlation_id="c" * 255))) == 1

    assert Order.objects.get(id=order_id).correlation_id == "c" * 128


def test_an_order_that_is_there_is_not_restored_over() -> None:
    order = make_order()

    assert restore_orders([order.id], Processor(record_of(order.id))) == 0

    order.refresh_from_db()
    assert order.status == "pending"
    assert len(lines_of(order.id)) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"order": None},
        {
            "order": {
                "items": [{"product_id": "beans", "quantity": 0, "price": 1}],
                "created_at": "2026-11-22T09:30:00Z",
            }
        },
        {"total_amount": Decimal(0)},
        {"total_amount": Decimal("1e11")},
    ],
)
def test_what_cannot_be_restored_is_named_and_stops_no_other(
    changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    bad, unknown, good = uuid4(), uuid4(), uuid4()
    processor = Processor(record_of(bad, **changes), record_of(good))

    assert restore_orders([bad, unknown, good], processor) == 1

    assert Order.objects.get().id == good
    warned = [record for record in caplog.records if "cannot be restored" in record.message]
    assert [record.__dict__["order_id"] for record in warned] == [str(bad), str(unknown)]


def test_missing_items_are_restored_and_the_rest_of_the_order_stays() -> None:
    order = placed(idempotency_key="key-1")
    OrderItem.objects.filter(order=order, position=0).delete()

    assert restore_items([order.id], Processor(record_of(order.id, outcome="failed", reason="No."))) == 1

    assert lines_of(order.id) == [("beans", 2, Decimal("18.50")), ("filters", 1, Decimal("9.00"))]
    kept = Order.objects.get()
    assert (kept.status, kept.idempotency_key) == ("pending", "key-1")
    assert restore_items([order.id], Processor(record_of(order.id))) == 0, "there is nothing to mend any more"


def test_items_that_do_not_add_up_to_the_total_are_not_taken() -> None:
    order = make_order(items=4)  # another number of items than the record has
    OrderItem.objects.filter(position=0).delete()

    assert restore_items([order.id], Processor(record_of(order.id))) == 0

    assert len(lines_of(order.id)) == 3


@pytest.mark.parametrize("restore", [restore_orders, restore_items])
def test_of_two_that_restore_the_same_at_once_the_second_finds_nothing_to_mend(
    restore: Callable[[list[UUID], Fetch], int], caplog: pytest.LogCaptureFixture
) -> None:
    order = placed()
    (Order.objects.all() if restore is restore_orders else OrderItem.objects.filter(position=0)).delete()
    processor = Processor(record_of(order.id))

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            assert restore([order.id], processor) == 1
            second = pool.submit(in_thread, lambda: restore([order.id], processor))
            wait_until_somebody_waits_for_us()
        assert second.result(30) == 0

    assert lines_of(order.id) == [("beans", 2, Decimal("18.50")), ("filters", 1, Decimal("9.00"))]
    assert "cannot be restored" not in caplog.text


def test_items_of_an_order_that_is_gone_are_not_restored() -> None:
    gone = uuid4()

    assert restore_items([gone], Processor(record_of(gone))) == 0


def test_the_book_has_the_order_with_its_items_and_its_announcement() -> None:
    order = placed()

    kept, waiting = book().page().entries

    assert (kept.order_id, kept.place, kept.state, kept.lines) == (order.id, "order", "pending", 2)
    assert kept.since == order.updated_at
    assert (waiting.order_id, waiting.place, waiting.state) == (order.id, "outbox", "created")
