"""A service that knows one order, for the tests."""

from datetime import UTC, datetime
from uuid import UUID

from timeline.event import Event, Story

KNOWN = UUID(int=1)
NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)


def story(order_id: UUID, *, correlation_id: str = "", is_final: bool = False) -> Story | None:
    if order_id != KNOWN:
        return None
    event = Event(at=NOON, service="orders", kind="accepted", title="Accepted")
    return Story(status="pending", correlation_id=correlation_id, events=[event])
