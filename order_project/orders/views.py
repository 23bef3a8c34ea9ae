"""The API of orders: /orders and /orders/{order_id}."""

import re
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.urls import reverse
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from httpapi.problems import Problem
from httpapi.query import parse_query
from orders import openapi, services
from orders.models import Order
from orders.serializers import NewOrderSerializer, OrderFilters, OrderSerializer, as_json

_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class OrderListView(GenericAPIView[Order]):
    """Place an order, or read the orders newest first."""

    queryset = Order.objects.prefetch_related("items")
    ordering = ("-created_at", "-id")
    example_body = openapi.NEW_ORDER

    def get_view_name(self) -> str:
        return "Orders"

    def get_serializer_class(self) -> Any:
        return NewOrderSerializer if self.request.method == "POST" else OrderSerializer

    @openapi.list_orders
    def get(self, request: Request) -> Response:
        orders = _filtered(self.get_queryset(), **parse_query(OrderFilters, request))
        page = self.paginate_queryset(orders)
        return self.get_paginated_response(OrderSerializer(page, many=True).data)

    @openapi.place_order
    def post(self, request: Request) -> Response:
        key = _idempotency_key(request)
        new = NewOrderSerializer(data=request.data)
        new.is_valid(raise_exception=True)
        try:
            placed = services.place_order(
                customer_id=new.validated_data["customer_id"],
                lines=[services.Line(**item) for item in new.validated_data["items"]],
                placed_by=request.user if request.user.is_authenticated else None,
                idempotency_key=key,
            )
        except services.IdempotencyKeyInUse:
            raise Problem(
                409,
                "A request with this Idempotency-Key is still under way; ask again in a moment.",
                headers={"Retry-After": "1"},
            ) from None
        except services.IdempotencyKeyReused:
            raise Problem(422, "This Idempotency-Key was already used for another order.") from None
        headers = {"Location": reverse("order", args=[placed.order.id])}
        if placed.replayed:
            headers["Idempotent-Replayed"] = "true"
        return Response(as_json(placed.order, placed.items), status=201, headers=headers)


class OrderView(GenericAPIView[Order]):
    """One order, and what has become of it."""

    queryset = Order.objects.prefetch_related("items")
    serializer_class = OrderSerializer

    def get_view_name(self) -> str:
        return "Order"

    @openapi.read_order
    def get(self, request: Request, order_id: str) -> Response:
        try:
            order = self.get_queryset().get(id=UUID(order_id))
        except (ValueError, Order.DoesNotExist):
            raise Problem(404, "Order not found") from None
        return Response(OrderSerializer(order).data)


def _idempotency_key(request: Request) -> str | None:
    key: str | None = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        raise Problem(400, "The Idempotency-Key header must be 1 to 255 visible ASCII characters.")
    return key


def _filtered(
    orders: QuerySet[Order],
    *,
    status: str | None = None,
    customer_id: str | None = None,
    created_after: Any = None,
    created_before: Any = None,
) -> QuerySet[Order]:
    wanted = {
        "status": status,
        "customer_id": customer_id,
        "created_at__gt": created_after,
        "created_at__lt": created_before,
    }
    return orders.filter(**{lookup: value for lookup, value in wanted.items() if value is not None})
