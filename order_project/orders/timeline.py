"""What this service knows of what happened to an order."""

from typing import Any
from uuid import UUID

from django.db.models import Count

from desk.display import duration
from orders.models import Order
from timeline.event import Event, Story
from timeline.messaging_events import collect


def story(order_id: UUID, *, correlation_id: str = "", is_final: bool = False) -> Story | None:
    """The order from acceptance to result; None for no order. Ignores what else is given: it is known better here."""
    order = (
        Order.objects.filter(id=order_id).select_related("placed_by").annotate(lines=Count("items")).order_by().first()
    )
    if order is None:
        return None
    is_pending = order.status == Order.Status.PENDING
    found = collect(
        subject=str(order.id),
        correlation_id=order.correlation_id,
        sender="processor",
        is_handled=not is_pending,
        may_wait_in_outbox=is_pending,
        not_before=order.created_at,
    )
    return Story(
        status=order.status,
        correlation_id=order.correlation_id,
        summary="" if is_pending else _ending(order),
        events=[*_events(order), *found.events],
        waits_for=found.waits_for,
        notes=found.notes,
    )


def _events(order: Any) -> list[Event]:
    page = f"orders/order/{order.id}/change/"
    accepted: dict[str, Any] = {"lines": order.lines, "correlation_id": order.correlation_id}
    if order.placed_by is not None:
        accepted["placed_by"] = order.placed_by.get_username()
    if order.idempotency_key is not None:
        accepted["with_idempotency_key"] = True
    events = [
        Event(at=order.created_at, service="orders", kind="accepted", title="Accepted", detail=accepted, link=page)
    ]
    if order.last_replayed_at is not None:
        often = "once" if order.replays == 1 else f"{order.replays} times, this was the last"
        title = f"Sent again with its Idempotency-Key {often}"
        events.append(Event(at=order.last_replayed_at, service="orders", kind="sent_again", title=title))
    if order.status == Order.Status.COMPLETED:
        events.append(Event(at=order.updated_at, service="orders", kind="final", title="Completed", severity="good"))
    elif order.status == Order.Status.FAILED:
        reason = {"reason": order.error_message}
        events.append(Event(at=order.updated_at, service="orders", kind="final", title="Failed", detail=reason))
    return events


def _ending(order: Order) -> str:
    took = duration((order.updated_at - order.created_at).total_seconds())
    if order.status == Order.Status.COMPLETED:
        return f"Completed {took} after it was accepted."
    return f"Failed {took} after it was accepted: {order.error_message}"
