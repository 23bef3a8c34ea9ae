"""What this service listens to."""

from typing import Any

from contracts.events import OrderProcessed
from messaging.message import Handler
from orders import services

HANDLERS: dict[str, Handler[Any]] = {
    OrderProcessed.TYPE: Handler(
        decode=OrderProcessed.from_json,
        handle=services.record_results,
        subject="order_id",
        schema_versions=frozenset({OrderProcessed.SCHEMA_VERSION}),
    ),
}
