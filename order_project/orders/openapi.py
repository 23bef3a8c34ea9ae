"""What the API's documentation says about each operation: examples, headers, errors."""

import json
from typing import Any

from django.conf import settings
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from httpapi.openapi import REQUEST_ID, header, problem_responses, retry_after
from httpapi.pagination import NO_SUCH_PAGE
from orders.models import Order
from orders.new_order import MAX_ORDERS_PER_BATCH
from orders.serializers import (
    BatchSerializer,
    NewBatchSerializer,
    NewOrderSerializer,
    OrderFilters,
    OrderSerializer,
)
from orders.waiting import whole_seconds

NEW_ORDER: dict[str, Any] = {
    "customer_id": "customer-1",
    "items": [
        {"product_id": "espresso-beans-1kg", "quantity": 2, "price": 18.5},
        {"product_id": "paper-filters", "quantity": 1, "price": 9.0},
    ],
}
"""A body that works as it stands. The form of the browsable API starts with it too."""

NEW_BATCH: dict[str, Any] = {
    "orders": [
        NEW_ORDER,
        {"customer_id": "customer-2", "items": [{"product_id": "teapot", "quantity": 1, "price": 24.9}]},
    ]
}
"""The same for a batch."""

_ID = "019ac5f2-8d0b-7c3e-9a51-6f2b8e4d7a10"
_PENDING = {
    "id": _ID,
    **NEW_ORDER,
    "total_amount": 46.0,
    "status": "pending",
    "error_message": None,
    "created_at": "2026-11-22T12:00:00.000000Z",
    "updated_at": "2026-11-22T12:00:00.000000Z",
}
_COMPLETED = {**_PENDING, "status": "completed", "updated_at": "2026-11-22T12:00:00.350000Z"}
_FAILED = {
    **_COMPLETED,
    "status": "failed",
    "error_message": "The total of 150000.00 is above the limit of 100000.00.",
    "items": [{"product_id": "coffee-farm", "quantity": 1, "price": 150000.0}],
    "total_amount": 150000.0,
}
_BATCH = {
    "results": [
        {"status": 201, "order": _PENDING},
        {"status": 422, "errors": [{"pointer": "/items/0/price", "detail": "Ensure this value is greater than 0."}]},
    ],
    "accepted": 1,
    "refused": 1,
}

KEY_PATTERN = "^[!-~]{1,255}$"
"""What an Idempotency-Key may be: visible ASCII characters."""
KEY_IN_USE = "A request with this Idempotency-Key is still under way; ask again in a moment."

_BAD_PARAMETER = problem_responses(
    422,
    details={422: '?status: "open" is not a valid choice.'},
    errors=[{"pointer": "?status", "detail": '"open" is not a valid choice.'}],
)

list_orders_schema = extend_schema(
    operation_id="listOrders",
    tags=["Orders"],
    summary="List orders",
    description="Newest first, in pages. Filters narrow each other. Follow `next` until it is null; orders placed "
    "meanwhile do not shift the pages.",
    parameters=[OrderFilters, retry_after(503), *REQUEST_ID],
    responses={
        200: OpenApiResponse(OrderSerializer(many=True), "A page of orders."),
        **problem_responses(401, 404, 503, details={404: NO_SUCH_PAGE}),
        **_BAD_PARAMETER,
    },
    examples=[
        OpenApiExample("A completed order", _COMPLETED, response_only=True, status_codes=["200"]),
        OpenApiExample("A failed order", _FAILED, response_only=True, status_codes=["200"]),
    ],
)

place_order_schema = extend_schema(
    operation_id="placeOrder",
    tags=["Orders"],
    summary="Place an order",
    description="Answers once the order is safe: it will be processed even if everything crashes right after. "
    "Whether it `completed` or `failed` shows at its `Location`, usually within a second.\n\n"
    "Send an `Idempotency-Key` to be able to send the same order again without placing a second one, for example "
    "after a timeout.",
    parameters=[
        header(
            "Idempotency-Key",
            "Any text of your choice, new for each order, such as a UUID. The same key and order give the first "
            "answer again, however late; the same key with another order is refused (422). Keys belong to the user "
            "who sends them.",
            pattern=KEY_PATTERN,
        ),
        header("Location", "The order's path.", of=[201], required=True, format="uri-reference"),
        header("Idempotent-Replayed", "Only when this is the first answer again.", of=[201], enum=["true"]),
        retry_after(409, 503),
        *REQUEST_ID,
    ],
    request=NewOrderSerializer,
    responses={
        201: OpenApiResponse(OrderSerializer, "The order as it was placed."),
        **problem_responses(400, 401, 403, 409, 413, 415, 422, 503, details={409: KEY_IN_USE}),
    },
    examples=[
        OpenApiExample("Two items", NEW_ORDER, request_only=True),
        OpenApiExample("The new order", _PENDING, response_only=True, status_codes=["201"]),
    ],
)

_TOO_MANY = f"A batch has at most {MAX_ORDERS_PER_BATCH} orders."

place_orders_schema = extend_schema(
    operation_id="placeOrders",
    tags=["Orders"],
    summary="Place many orders",
    description=f"1 to {MAX_ORDERS_PER_BATCH} orders, each as `POST /orders` takes it. The valid ones are placed "
    "together, or, if something goes wrong, none of them; the others are refused, each with what is wrong with it. "
    "The results come in the order in which the orders were sent.\n\n"
    "Many times faster than as many single requests. Send an `Idempotency-Key` to be able to send the same batch "
    "again without placing its orders a second time.",
    parameters=[
        header(
            "Idempotency-Key",
            "Any text of your choice, new for each batch, such as a UUID. The same key and batch give the first answer "
            "again, however late; the same key with another batch is refused (422), also with one in which only "
            "refused orders were corrected. Keys belong to the user who sends them; those of batches and of single "
            "orders do not meet.",
            pattern=KEY_PATTERN,
        ),
        header("Idempotent-Replayed", "Only when this is the first answer again.", of=[200], enum=["true"]),
        retry_after(409, 503),
        *REQUEST_ID,
    ],
    request=NewBatchSerializer,
    responses={
        200: OpenApiResponse(BatchSerializer, "What became of each order. They may all have been refused."),
        **problem_responses(
            *(400, 401, 403, 409, 413, 415, 422, 503),
            details={409: KEY_IN_USE, 422: f"/orders: {_TOO_MANY}"},
            errors=[{"pointer": "/orders", "detail": _TOO_MANY}],
        ),
    },
    examples=[
        OpenApiExample("Two orders", NEW_BATCH, request_only=True),
        OpenApiExample("One placed, one refused", _BATCH, response_only=True, status_codes=["200"]),
    ],
)

_ORDER_ID = OpenApiParameter("order_id", OpenApiTypes.UUID, OpenApiParameter.PATH, description="As `POST` answered it.")

read_order_schema = extend_schema(
    operation_id="readOrder",
    tags=["Orders"],
    summary="Read an order",
    description="With `wait` it answers as soon as the order is final, or, still `pending`, when the time is up. Most "
    "orders are final within a second, so this is the simplest way to learn the outcome.",
    parameters=[
        _ORDER_ID,
        OpenApiParameter(
            "wait",
            {"type": "integer", "minimum": 0, "maximum": settings.WAITING_MAX_SECONDS, "default": 0},
            description="Seconds to wait at most until the order is final.",
        ),
        header(
            "Prefer",
            "`wait=20` is the same as `?wait=20`, as RFC 7240 has it. A value above the maximum counts as the maximum; "
            "one that cannot be read is ignored.",
        ),
        header(
            "Preference-Applied",
            "Only with `Prefer: wait`: for how long it would have waited.",
            of=[200],
            pattern="^wait=[0-9]+$",
        ),
        retry_after(503),
        *REQUEST_ID,
    ],
    responses={
        200: OpenApiResponse(OrderSerializer, "The order."),
        **problem_responses(
            *(401, 404, 422, 503),
            details={404: "Order not found"},
            errors=[{"pointer": "?wait", "detail": whole_seconds()}],
        ),
    },
    examples=[
        OpenApiExample("Pending", _PENDING, response_only=True, status_codes=["200"]),
        OpenApiExample("Completed", _COMPLETED, response_only=True, status_codes=["200"]),
        OpenApiExample("Failed", _FAILED, response_only=True, status_codes=["200"]),
    ],
)

_EVENT = {
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string", "enum": Order.Status.values, "description": "The order's status."},
        "event": {"type": "string", "enum": ["status"]},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/Order"},
        },
        "retry": {"type": "integer", "description": "Milliseconds after which to come again. With the first event."},
    },
}

follow_order_schema = extend_schema(
    operation_id="followOrder",
    tags=["Orders"],
    summary="Follow an order",
    description="Server-sent events, for `EventSource` in a browser: an event `status` with the order as it is, then "
    "one with the order as it ended, and the end. Both have the order as JSON. A comment every 15 seconds keeps the "
    f"connection open, for {settings.WAITING_STREAM_SECONDS} seconds at most; a client that comes again then, as "
    "`EventSource` does by itself, gets no event twice.",
    parameters=[
        _ORDER_ID,
        header("Last-Event-ID", "The id of the last event that the client has seen, which is the order's status."),
        header("Cache-Control", "Always `no-cache`.", of=[200], enum=["no-cache"], required=True),
        retry_after(503),
        *REQUEST_ID,
    ],
    responses={
        (200, "text/event-stream"): OpenApiResponse(_EVENT, "The events; the schema is that of one of them."),
        204: OpenApiResponse(description="The client has seen the last event. `EventSource` comes no more."),
        **problem_responses(401, 404, 503, details={404: "Order not found"}),
    },
    examples=[
        OpenApiExample(
            "The last event",
            {"id": "completed", "event": "status", "data": json.dumps(_COMPLETED, separators=(",", ":"))},
            response_only=True,
            status_codes=["200"],
            media_type="text/event-stream",
        ),
    ],
)
