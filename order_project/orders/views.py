"""The API of orders: /orders, /orders/batch, /orders/{order_id} and its events."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils.cache import patch_vary_headers
from drf_spectacular.utils import extend_schema_view
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from httpapi.fast_path import Answer
from httpapi.parsers import is_plain_json, whole_body
from httpapi.problems import Problem
from httpapi.query import parse_query
from httpapi.renderers import EventStreamRenderer, JSONRenderer
from orders import batches, new_order, openapi, pages, services, waiting
from orders.models import Order
from orders.new_order import NewOrder, Refused
from orders.serializers import (
    NewBatchSerializer,
    OrderFilters,
    OrderSerializer,
    as_json,
    as_placed,
    as_results,
    check,
    check_each,
)
from serving.waiting import Full, came_back, stream, wait

if TYPE_CHECKING:
    from django.contrib.auth.models import User

_IDEMPOTENCY_KEY = re.compile(openapi.KEY_PATTERN)
_NOT_PLACED = (services.IdempotencyKeyInUse, services.IdempotencyKeyReused, services.TakesNoOrders)


@extend_schema_view(get=openapi.list_orders_schema)
class OrderListView(ListAPIView[Order]):
    """Place an order, or read the orders newest first."""

    queryset = Order.objects.all()
    serializer_class = OrderSerializer
    ordering = ("-created_at", "-id")
    page = pages.ORDERS

    def get_view_name(self) -> str:
        return "Orders"

    def filter_queryset(self, queryset: QuerySet[Order, Any]) -> QuerySet[Order, Any]:
        wanted = parse_query(OrderFilters, self.request)
        return queryset.filter(**{OrderFilters.LOOKUPS[name]: value for name, value in wanted.items()})

    @openapi.place_order_schema
    def post(self, request: Request) -> Response:
        key = idempotency_key(request.META)
        answer = answer_placed(
            check(request.data),
            path=request.path,
            user=request.user if request.user.is_authenticated else None,
            idempotency_key=key,
        )
        return Response(answer.data, status=answer.status, headers=dict(answer.headers))


class OrderBatchView(APIView):
    """Place up to 1000 orders at once. Each is taken or refused by itself."""

    page = pages.BATCH

    def get_view_name(self) -> str:
        return "Batch"

    @openapi.place_orders_schema
    def post(self, request: Request) -> Response:
        key = idempotency_key(request.META)
        orders: Sequence[NewOrder | Refused] | None = None
        if is_plain_json(request):
            orders = new_order.read_plain_batch(whole_body(request))
        if orders is None:
            new = NewBatchSerializer(data=request.data)
            new.is_valid(raise_exception=True)
            orders = check_each(new.validated_data["orders"])
        try:
            batch = batches.place_batch(
                orders=orders,
                placed_by=request.user if request.user.is_authenticated else None,
                idempotency_key=key,
            )
        except _NOT_PLACED as error:
            raise _problem(error, of="batch") from None
        return Response(
            {"results": as_results(batch.outcomes), "accepted": batch.accepted, "refused": batch.refused},
            headers={"Idempotent-Replayed": "true"} if batch.replayed else None,
        )


class OrderView(APIView):
    """One order, and what has become of it."""

    page = pages.ORDER

    def get_view_name(self) -> str:
        return "Order"

    def read_order(self) -> services.OrderState:
        """The order of the URL, from the database each time. Raises a 404, also for an id that is no UUID."""
        try:
            order = services.read_order(UUID(self.kwargs["order_id"]))
        except ValueError:
            order = None
        if order is None:
            raise Problem(404, "Order not found")
        return order

    @openapi.read_order_schema
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Any:
        wish = waiting.wish_of(request)
        order = self.read_order()
        if wish.seconds and order.status == Order.Status.PENDING and not came_back(request):
            try:
                parked = wait(request, order.id, seconds=wish.seconds)
            except Full:
                raise waiting.no_place() from None
            if parked is not None:
                return parked
            order = self.read_order()
        answer = Response(as_json(order, order.items))
        if wish.preferred:
            answer.headers["Preference-Applied"] = f"wait={wish.seconds}"
            patch_vary_headers(answer, ["Prefer"])
        return answer


class OrderEventsView(OrderView):
    """What becomes of one order, as it happens: server-sent events."""

    # JSONRenderer is there for the API's documents only: errors are JSON, whatever a client asks for.
    renderer_classes = [EventStreamRenderer, JSONRenderer]

    def get_view_name(self) -> str:
        return "Events"

    @openapi.follow_order_schema
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Any:
        order = self.read_order()
        seen = request.META.get("HTTP_LAST_EVENT_ID")
        parts: Iterable[bytes]
        if order.status != Order.Status.PENDING and not came_back(request):
            if seen == order.status:
                return Response(status=204)  # tells EventSource not to connect again
            parts = [waiting.beginning(order, seen=seen)]
        elif request.method == "HEAD":
            parts = []
        else:
            try:
                parts = stream(
                    request,
                    order.id,
                    seconds=settings.WAITING_STREAM_SECONDS,
                    first=waiting.beginning(order, seen=seen),
                    last=self._last_event,
                )
            except Full:
                raise waiting.no_place() from None
        return StreamingHttpResponse(
            parts,
            content_type=waiting.STREAM,
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},  # else nginx would buffer the stream
        )

    def _last_event(self) -> bytes:
        order = self.read_order()
        return waiting.status_event(order) if order.status != Order.Status.PENDING else b""


def answer_placed(order: NewOrder, *, path: str, user: "User | None", idempotency_key: str | None) -> Answer:
    """Places the order that was posted to this path. Raises Problem when it is not taken."""
    try:
        placed = services.place_order(order, placed_by=user, idempotency_key=idempotency_key)
    except _NOT_PLACED as error:
        raise _problem(error, of="order") from None
    headers = {"Location": f"{path}/{placed.order.order_id}"}
    if placed.replayed:
        headers["Idempotent-Replayed"] = "true"
    return Answer(201, as_placed(placed.order), headers)


def idempotency_key(environ: Mapping[str, Any]) -> str | None:
    """The Idempotency-Key of a request, if it has one. Raises Problem for one that is malformed."""
    key: str | None = environ.get("HTTP_IDEMPOTENCY_KEY")
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        raise Problem(400, "The Idempotency-Key header must be 1 to 255 visible ASCII characters.")
    return key


def _problem(error: Exception, *, of: str) -> Problem:
    """What to answer when nothing was placed."""
    match error:
        case services.IdempotencyKeyInUse():
            return Problem(409, openapi.KEY_IN_USE, headers={"Retry-After": "1"})
        case services.TakesNoOrders():
            return Problem(
                503,
                "Orders cannot be passed on at the moment, so no new ones are taken.",
                headers={"Retry-After": str(error.retry_after)},
            )
        case _:
            return Problem(422, f"This Idempotency-Key was already used for another {of}.")
