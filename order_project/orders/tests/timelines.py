"""Orders with something to tell, and what the processor may tell of them."""

from datetime import datetime
from typing import Any
from uuid import uuid4

from django.test import Client
from django.utils import timezone

from messaging.models import DeadLetter, FailedAttempt
from observability.context import bind
from orders import services
from orders.models import Order
from orders.tests.factories import NEW_ORDER


def theirs(kind: str, at: datetime, **changes: Any) -> dict[str, Any]:
    return {
        "at": at.isoformat(),
        "seconds_since_previous": None,
        "service": "processor",
        "kind": kind,
        "title": kind.capitalize(),
        "severity": "info",
        "detail": {},
        "link": "",
    } | changes


def read(client: Client, order_id: Any) -> dict[str, Any]:
    answer = client.get(f"/orders/{order_id}/timeline")
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def kinds(timeline: dict[str, Any]) -> list[str]:
    return [event["kind"] for event in timeline["events"]]


def place(correlation_id: str = "request-1", **of: Any) -> Order:
    with bind(correlation_id=correlation_id):
        placed = services.place_order(NEW_ORDER, **of)
    return Order.objects.get(id=placed.order.order_id)


def attempt(order: Order, **changes: Any) -> FailedAttempt:
    return FailedAttempt.objects.create(
        **{
            "step": "handle",
            "message_id": uuid4(),
            "type": "order.processed",
            "subject": str(order.id),
            "correlation_id": order.correlation_id,
            "attempt": 1,
            "error_type": "ValueError",
            "error_message": "no such thing",
            "place": "orders.services.record_results",
            "retry_in": "5s",
        }
        | changes
    )


def letter(order: Order, **changes: Any) -> DeadLetter:
    now = timezone.now()
    return DeadLetter.objects.create(
        **{
            "fingerprint": uuid4(),
            "message_id": uuid4(),
            "type": "order.processed",
            "queue": "orders.events.v1",
            "body": b'{"secret": "payload"}',
            "subject": str(order.id),
            "correlation_id": order.correlation_id,
            "error_type": "ValueError",
            "error_message": "no such thing",
            "traceback": "Traceback: secret",
            "first_failed_at": now,
            "last_failed_at": now,
        }
        | changes
    )
