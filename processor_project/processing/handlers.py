"""What this service does with each type of message: all it listens to, in one table."""

from typing import Any

from contracts.events import OrderCreated
from messaging.message import Handler
from processing import services

HANDLERS: dict[str, Handler[Any]] = {
    OrderCreated.TYPE: Handler(
        decode=OrderCreated.from_json,
        handle=services.process_orders,
        subject="order_id",
        schema_versions=frozenset({OrderCreated.SCHEMA_VERSION}),
    ),
}
