"""One table of all messages this service listens to, and what it does with each type."""

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
