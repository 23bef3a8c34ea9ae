"""What the overview of the admin says about orders."""

import orjson
from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from dashboard.pipeline import Empty, Pipeline, Status
from httpapi.browsable import TOKEN, curl
from orders.models import Order
from orders.openapi import NEW_ORDER


def first_order(request: HttpRequest | None = None) -> str:
    """A command that places an order; without a `request`, at a service on this machine."""
    path = reverse("orders")
    url = request.build_absolute_uri(path) if request else f"http://localhost:8000{path}"
    headers = {**(TOKEN if settings.API_AUTH_REQUIRED else {}), "Content-Type": "application/json"}
    return curl(url, headers=headers, body=orjson.dumps(NEW_ORDER).decode())


def _empty(request: HttpRequest | None) -> Empty:
    token = ", with a token from People → Tokens in the admin" if settings.API_AUTH_REQUIRED else ""
    return Empty(
        f"No orders yet. Post the first one{token}:",
        first_order(request),
        reverse("orders"),
        "or with the form of the API",
    )


PIPELINE = Pipeline(
    one="order",
    many="orders",
    happened="accepted",
    model="orders.order",
    at="created_at",
    status="status",
    statuses=(
        Status(Order.Status.COMPLETED, "completed", "good"),
        Status(Order.Status.FAILED, "failed", "bad"),
        Status(Order.Status.PENDING, "pending", "waiting", is_final=False),
    ),
    rows="""
        SELECT created_at AS at, status, CASE WHEN status <> 'pending' THEN updated_at - created_at END AS took
        FROM orders_order WHERE created_at >= %(start)s AND created_at < %(end)s""",
    took="From accepted to final",
    exists="SELECT EXISTS (SELECT FROM orders_order)",
    oldest_open="""
        SELECT id, created_at AS at FROM orders_order WHERE status = 'pending' ORDER BY created_at, id LIMIT 1""",
    count_open="""
        SELECT count(*) FROM (SELECT FROM orders_order WHERE status = 'pending' LIMIT %(cap)s) AS pending""",
    open_label=Order.Status.PENDING,
    open_remedy="Its timeline says what it waits for, and leads there. `python manage.py reconcile` says it of all.",
    empty=_empty,
)
STATUS_KINDS = {status.name: status.kind for status in PIPELINE.statuses}
