"""What the browsable API is told about orders: filters, examples, how an order is shown, where to go from it."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse
from django.utils.html import format_html
from rest_framework.request import Request

from desk.badges import badge
from httpapi.browsable import Page, errors_cell, in_the_admin, money
from httpapi.service import Link
from orders.models import Order
from orders.openapi import NEW_BATCH, NEW_ORDER
from orders.overview import STATUS_KINDS
from orders.serializers import OrderFilters

_HEADERS = {
    "Idempotency-Key": "Any text of your choice, such as a UUID: sent again with the same body, it gives the first "
    "answer again.",
}
_ABOVE_THE_LIMIT = {
    "customer_id": "customer-1",
    "items": [{"product_id": "coffee-farm", "quantity": 1, "price": 150000.0}],
}
_WRONG = {
    "customer_id": "customer-1",
    "items": [
        {"product_id": "espresso-beans-1kg", "quantity": 2, "price": 18.505},
        {"product_id": "paper-filters", "quantity": 0, "price": 9.0},
    ],
}


def _status(value: Any, of: Mapping[str, Any]) -> str:
    """The status of an order, or the HTTP status of one result in a batch."""
    return badge(str(value), STATUS_KINDS.get(value) or ("good" if value == 201 else "bad"))


def _id(value: Any, of: Mapping[str, Any]) -> str:
    return format_html('<a href="{}"><code>{}</code></a>', reverse("order", args=[value]), value)


def _order(value: Any, of: Mapping[str, Any]) -> str:
    return _id(value["id"], value)


def _links(order: Mapping[str, Any], request: Request) -> list[Link]:
    if "results" in order:  # the list
        return [Link("Place many at once", reverse("order-batch"), "up to 1000 in one request")]
    path = reverse("order", args=[order["id"]])
    waiting = [Link("Wait for the end", f"{path}?wait=20", "answers once the order is final, or after 20 seconds")]
    return [
        *(waiting if _unfinished(order) else []),
        Link("Timeline", reverse("order-timeline", args=[order["id"]]), "everything that happened to it"),
        *in_the_admin(request, "orders.order", order["id"]),
        Link("Events", reverse("order-events", args=[order["id"]]), "the same as server-sent events, for programs"),
        Link("All orders of this customer", f"{reverse('orders')}?{urlencode({'customer_id': order['customer_id']})}"),
    ]


def _unfinished(order: Mapping[str, Any]) -> bool:
    return order.get("status") == Order.Status.PENDING


_CELLS = {"status": _status, "id": _id, "order": _order, "errors": errors_cell, "price": money, "total_amount": money}

ORDERS = Page(
    verb="Place an order",
    examples={
        "Two items": NEW_ORDER,
        "Above the limit: will fail": _ABOVE_THE_LIMIT,
        "Two mistakes: is refused": _WRONG,
    },
    headers=_HEADERS,
    filters=OrderFilters,
    columns={"results": ["created_at", "status", "id", "customer_id", "total_amount", "error_message"]},
    cells=_CELLS,
    links=_links,
    unfinished=_unfinished,
)

ORDER = Page(cells=_CELLS, links=_links, unfinished=_unfinished)

BATCH = Page(
    verb="Place many orders",
    examples={
        "Two orders": NEW_BATCH,
        "One of them wrong": {"orders": [NEW_ORDER, _WRONG]},
    },
    headers=_HEADERS,
    columns={"results": ["status", "order", "errors"]},
    cells=_CELLS,
)
