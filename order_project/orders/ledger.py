"""This service's book for the ledger: its orders, and how missing or damaged ones are restored."""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

from django.db import DataError, IntegrityError, transaction

from ledger.book import PROCESSED, Book, Fetch, Source, Wrong
from messaging import outbox
from orders.models import Order, OrderItem
from orders.services import announcement, as_created

logger = logging.getLogger(__name__)

_ORDERS = """
    SELECT
        id AS key, id AS order_id, status AS state, updated_at AS since,
        (SELECT count(*)::integer FROM orders_orderitem AS item WHERE item.order_id = orders_order.id) AS lines
    FROM orders_order"""


@transaction.atomic
def announce_again(order_ids: Sequence[UUID]) -> int:
    """Announces again, with new message ids, those of these orders that are still pending. Returns how many.

    An order whose items do not add up to its total is left as it is: what is announced must be what was accepted.
    If the first message arrives after all, the processor still decides the order once: the later of the two has no
    effect. After a crash either all of them are announced or none.
    """
    pending = Order.objects.filter(id__in=order_ids, status=Order.Status.PENDING).prefetch_related("items")
    announced = []
    for order in pending.order_by("id").select_for_update():
        if _is_whole(order, items := list(order.items.all())):
            announced.append(announcement(as_created(order, items), order.correlation_id))
            transaction.on_commit(partial(_say, "order announced again", order), robust=True)
        else:
            _warn("order cannot be announced: its items do not add up to its total", order.id)
    outbox.add(announced)
    return len(announced)


def restore_orders(order_ids: Sequence[UUID], fetch: Fetch) -> int:
    """Brings back orders that only the processor knows, from its records. Returns how many.

    What records do not hold is lost: who placed the order, and with which Idempotency-Key. Each order is a transaction
    of its own, so a crash leaves whole orders, and the rest for the next time. An order that has reappeared meanwhile
    is left as it is.
    """
    return _restore(order_ids, fetch, _restore_order)


def restore_items(order_ids: Sequence[UUID], fetch: Fetch) -> int:
    """Gives orders back the items with which the processor decided them. Returns how many.

    Does so only if these items add up to the order's total. Each order is a transaction of its own; a crash leaves the
    rest for the next time.
    """
    return _restore(order_ids, fetch, _restore_items)


def _restore(order_ids: Sequence[UUID], fetch: Fetch, restore: Callable[[Mapping[str, Any]], Order | None]) -> int:
    restored = 0
    for order_id in order_ids:
        record = fetch(f"/records/{order_id}")
        if not record or not record["order"]:
            _warn("order cannot be restored: the processor has no copy of it", order_id)
            continue
        try:
            order = restore(record)
        except (IntegrityError, DataError):
            _warn("order cannot be restored: it is none that this service takes", order_id)
            continue
        if order is not None:
            restored += 1
            _say("order restored", order)
    return restored


@transaction.atomic
def _restore_order(record: Mapping[str, Any]) -> Order | None:
    order, is_new = Order.objects.get_or_create(
        id=UUID(record["order_id"]),
        defaults={
            "customer_id": record["customer_id"],
            "total_amount": record["total_amount"],
            "status": record["outcome"],
            "error_message": record["reason"],
            "created_at": datetime.fromisoformat(record["order"]["created_at"]),
            "updated_at": datetime.fromisoformat(record["finished_at"]),
            "correlation_id": record["correlation_id"][:_CORRELATION_ID_LENGTH],
        },
    )
    if not is_new:
        return None
    OrderItem.objects.bulk_create(_items(order, record))
    return order


@transaction.atomic
def _restore_items(record: Mapping[str, Any]) -> Order | None:
    order = Order.objects.select_for_update().filter(id=record["order_id"]).first()
    if order is None:
        return None
    items = _items(order, record)
    if order.items.count() == len(items):
        return None
    if not _is_whole(order, items):
        _warn("items cannot be restored: those of the record do not add up to the order's total", order.id)
        return None
    order.items.all().delete()
    OrderItem.objects.bulk_create(items)
    return order


_CORRELATION_ID_LENGTH = Order._meta.get_field("correlation_id").max_length


def _items(order: Order, record: Mapping[str, Any]) -> list[OrderItem]:
    return [
        OrderItem(
            order=order,
            position=position,
            product_id=item["product_id"],
            quantity=item["quantity"],
            price=Decimal(item["price"]),
        )
        for position, item in enumerate(record["order"]["items"])
    ]


def _is_whole(order: Order, items: Sequence[OrderItem]) -> bool:
    return sum((item.quantity * item.price for item in items), Decimal(0)) == order.total_amount


def _say(what: str, order: Order) -> None:
    logger.info(what, extra={"order_id": str(order.id), "correlation_id": order.correlation_id})


def _warn(what: str, order_id: UUID) -> None:
    logger.warning(what, extra={"order_id": str(order_id)})


BOOK = Book(
    service="orders",
    peer="processor",
    hears=PROCESSED,
    source=Source("order", _ORDERS, UUID),
    announce={Wrong.CREATED: announce_again},
    restore={Wrong.ORDER: restore_orders, Wrong.ITEMS: restore_items},
)
