"""Orders, messages and records for tests."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from contracts.events import OrderCreated, OrderLine
from messaging.message import Message
from processing.models import ProcessingRecord


def make_order(**fields: Any) -> OrderCreated:
    """An order that all shipped rules let pass. Its total is the sum of its items unless given."""
    items = fields.pop("items", [OrderLine(product_id="tea", quantity=2, price=Decimal("23.00"))])
    return OrderCreated(
        order_id=fields.pop("order_id", None) or uuid7(),
        customer_id=fields.pop("customer_id", "customer-1"),
        items=items,
        total_amount=fields.pop("total_amount", sum((item.quantity * item.price for item in items), Decimal(0))),
        created_at=datetime(2026, 11, 22, 9, 30, tzinfo=UTC),
        **fields,
    )


def make_message(*, message_id: UUID | None = None, attempt: int = 1, **fields: Any) -> Message[OrderCreated]:
    """A delivery of such an order, with ids of its own."""
    order = make_order(**fields)
    return Message(
        id=message_id or uuid7(),
        type=OrderCreated.TYPE,
        payload=order,
        correlation_id=f"request-{order.order_id}",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        attempt=attempt,
    )


def make_record(**fields: Any) -> ProcessingRecord:
    """A record in the database, completed unless a reason is given."""
    reason = fields.get("reason", "")
    outcome = ProcessingRecord.Outcome.FAILED if reason else ProcessingRecord.Outcome.COMPLETED
    finished_at = fields.pop("finished_at", None) or datetime.now(UTC)
    order_id = fields.pop("order_id", None) or uuid7()
    return ProcessingRecord.objects.create(
        **{
            "order_id": order_id,
            "outcome": outcome,
            "customer_id": "customer-1",
            "total_amount": Decimal("46.00"),
            "item_count": 1,
            "attempts": 1,
            "message_id": uuid7(),
            "correlation_id": f"request-{order_id}",
            "started_at": finished_at,
            "finished_at": finished_at,
        }
        | fields
    )
