"""Timelines over HTTP, for both services. They only read."""

from typing import ClassVar
from uuid import UUID

from drf_spectacular.utils import extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from httpapi.browsable import Page
from httpapi.problems import Problem
from httpapi.query import parse_query
from timeline import openapi
from timeline.assembly import as_json, timeline_of
from timeline.serializers import HalfParameters


class TimelineView(APIView):
    """What this service knows of what happened to an order, and the other service, if it is asked."""

    not_found: ClassVar[str]
    page = Page(columns={"events": ["at", "seconds_since_previous", "service", "title", "detail"]})

    def get_view_name(self) -> str:
        return "Timeline"

    def answer(self, order_id: str, *, correlation_id: str = "", is_final: bool = False) -> Response:
        """Raises Problem 404 for what is no id, or not the id of an order."""
        try:
            timeline = timeline_of(UUID(order_id), correlation_id=correlation_id, is_final=is_final)
        except ValueError:
            timeline = None
        if timeline is None:
            raise Problem(404, self.not_found)
        return Response(as_json(timeline))


@extend_schema_view(get=openapi.read_order_timeline)
class OrderTimelineView(TimelineView):
    """What happened to one order, in both services, on one time axis."""

    not_found = openapi.ORDER_NOT_FOUND

    def get(self, request: Request, order_id: str) -> Response:
        return self.answer(order_id)


@extend_schema_view(get=openapi.read_record_timeline)
class RecordTimelineView(TimelineView):
    """What the processor knows of what happened to an order. It asks nobody: no question goes in circles."""

    not_found = openapi.NO_ORDER_ID

    def get(self, request: Request, order_id: str) -> Response:
        wanted = parse_query(HalfParameters, request)
        return self.answer(
            order_id, correlation_id=wanted.get("correlation_id", ""), is_final=wanted.get("final") == "true"
        )
