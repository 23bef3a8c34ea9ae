"""One example for each thing an event can say. They are in the generated documents, and tests use them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from contracts.events import Event, OrderCreated, OrderLine, OrderProcessed

_ORDER_ID = UUID("019ab3c4-5d6e-7f80-9a1b-2c3d4e5f6071")

ORDER_CREATED = OrderCreated(
    order_id=_ORDER_ID,
    customer_id="customer-42",
    items=[
        OrderLine(product_id="coffee-beans-1kg", quantity=2, price=Decimal("19.50")),
        OrderLine(product_id="filter-papers", quantity=1, price=Decimal("7.00")),
    ],
    total_amount=Decimal("46.00"),
    created_at=datetime(2026, 11, 22, 9, 30, tzinfo=UTC),
)
ORDER_COMPLETED = OrderProcessed(order_id=_ORDER_ID, status="completed")
ORDER_FAILED = OrderProcessed(
    order_id=_ORDER_ID, status="failed", error_message="The total of 150000.00 is above the limit of 100000.00."
)

EXAMPLES: Mapping[str, Mapping[str, Event]] = {
    OrderCreated.TYPE: {"an order of two products": ORDER_CREATED},
    OrderProcessed.TYPE: {"a completed order": ORDER_COMPLETED, "a failed order": ORDER_FAILED},
}
"""By type, then by what the example shows."""
