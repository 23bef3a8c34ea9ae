"""Orders, bodies and messages for tests."""

import re
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID, uuid4

from django.utils import timezone

from contracts.events import OrderProcessed
from messaging.message import Message
from orders.models import Order, OrderItem
from orders.services import Line

LINES = [Line("beans", 2, Decimal("18.50")), Line("filters", 1, Decimal("9.00"))]


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


def statements(queries: Iterable[dict[str, str]]) -> list[str]:
    """Their first words, without the wake-up call for the relay, which a busy process leaves out."""
    short = [" ".join(re.findall(r"\w+", query["sql"])[:3]) for query in queries]
    return [words for words in short if not words.startswith("NOTIFY")]


PLACING_AN_ORDER = [
    "BEGIN",
    "INSERT INTO orders_order",
    "INSERT INTO orders_orderitem",
    "INSERT INTO messaging_outboxmessage",
    "COMMIT",
]
