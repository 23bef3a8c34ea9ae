"""The events as plain JSON, made without the services' code."""

from datetime import UTC, datetime
from typing import Any

from tests.system import new_customer


def order_created(order_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "order_id": order_id,
        "customer_id": new_customer(),
        "items": [{"product_id": "espresso-beans-1kg", "quantity": 2, "price": 18.5}],
        "total_amount": 37.0,
        "created_at": datetime.now(UTC).isoformat(),
        **changes,
    }


def order_processed(order_id: str, **changes: Any) -> dict[str, Any]:
    return {"order_id": order_id, "status": "completed", "error_message": None, **changes}
