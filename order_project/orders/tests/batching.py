"""Batches of orders for tests, sent as clients send them."""

import json
from typing import Any

from rest_framework.test import APIClient

from httpapi.parsers import parse_json
from messaging.models import OutboxMessage
from orders.models import Order, OrderBatch, OrderItem
from orders.new_order import NewOrder, Refused
from orders.serializers import check_each
from orders.tests.factories import body, item

THREE = [body(customer_id=f"customer-{number}") for number in range(3)]
GOOD_AND_BAD = [body(), body(items=[item(), item(price=0)]), body(customer_id="customer-2")]


def post(orders: Any = None, key: str | None = None, **headers: str) -> Any:
    if key is not None:
        headers["Idempotency-Key"] = key
    return APIClient().post("/orders/batch", {"orders": THREE if orders is None else orders}, headers=headers)


def checked(orders: Any) -> list[NewOrder | Refused]:
    """The orders as the view has them once they are checked."""
    return check_each(parse_json(json.dumps(orders).encode()))


def post_raw(raw: str | bytes, content_type: str = "application/json", **headers: str) -> Any:
    data: Any = raw if isinstance(raw, bytes) else raw.encode()
    return APIClient().generic("POST", "/orders/batch", data, content_type=content_type, headers=headers)


def assert_problem(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.content
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "errors"}
    return problem


def assert_nothing_was_written() -> None:
    for model in (Order, OrderItem, OrderBatch, OutboxMessage):
        assert not model.objects.exists()


def assert_placed_once(orders: int) -> None:
    assert Order.objects.count() == orders
    assert OrderItem.objects.count() == 2 * orders
    assert OutboxMessage.objects.count() == orders
