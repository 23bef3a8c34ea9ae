"""Orders, bodies and messages for tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID, uuid4

from django.db import connection
from django.utils import timezone

from contracts.events import OrderLine, OrderProcessed
from messaging.message import Message
from orders.models import Order, OrderItem
from orders.new_order import NewOrder

LINES = [
    OrderLine(product_id="beans", quantity=2, price=Decimal("18.50")),
    OrderLine(product_id="filters", quantity=1, price=Decimal("9.00")),
]
NEW_ORDER = NewOrder("customer-1", LINES)
ONE_LINE = [OrderLine(product_id="beans", quantity=1, price=Decimal(1))]


def body(**changes: Any) -> dict[str, Any]:
    """A good body of POST /orders, with changes."""
    return {
        "customer_id": "customer-1",
        "items": [
            {"product_id": "beans", "quantity": 2, "price": 18.5},
            {"product_id": "filters", "quantity": 1, "price": 9},
        ],
        **changes,
    }


def item(**changes: Any) -> dict[str, Any]:
    """A good item, with changes."""
    return {"product_id": "beans", "quantity": 1, "price": 1.0, **changes}


def make_order(
    *,
    status: str = "pending",
    customer_id: str = "customer-1",
    at: datetime | None = None,
    items: int = 1,
    error_message: str | None = None,
    **fields: Any,
) -> Order:
    """An order in the database, without an announcement."""
    at = at or timezone.now()
    order = Order.objects.create(
        customer_id=customer_id,
        status=status,
        error_message=error_message or ("too much" if status == "failed" else None),
        total_amount=Decimal(10 * items),
        created_at=at,
        updated_at=at,
        **fields,
    )
    OrderItem.objects.bulk_create(
        OrderItem(order=order, position=position, product_id=f"product-{position}", quantity=1, price=Decimal(10))
        for position in range(items)
    )
    return order


def verdict(
    order_id: UUID, status: Literal["completed", "failed"] = "completed", error_message: str | None = None
) -> Message[OrderProcessed]:
    """The processor's event, as the consumer hands it over."""
    if status == "failed" and error_message is None:
        error_message = "too much"
    return Message(
        id=uuid4(),
        type=OrderProcessed.TYPE,
        payload=OrderProcessed(order_id=order_id, status=status, error_message=error_message),
        correlation_id="correlation-1",
        traceparent="",
        attempt=1,
    )


@contextmanager
def outbox_without_room() -> Iterator[None]:
    """Inside the block PostgreSQL refuses every row of the outbox. Not to be used in a transaction."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE messaging_outboxmessage ADD CONSTRAINT no_room CHECK (false) NOT VALID")
        try:
            yield
        finally:
            cursor.execute("ALTER TABLE messaging_outboxmessage DROP CONSTRAINT no_room")
