"""The API of the processing records: /records and /records/{order_id}. It only reads."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from httpapi.problems import Problem
from httpapi.query import parse_query
from processing import openapi
from processing.models import ProcessingRecord
from processing.serializers import RecordFilters, RecordSerializer


class RecordListView(GenericAPIView[ProcessingRecord]):
    """What was decided about the orders, newest first."""

    queryset = ProcessingRecord.objects.all()
    serializer_class = RecordSerializer
    ordering = ("-finished_at", "-order_id")

    def get_view_name(self) -> str:
        return "Processing records"

    @openapi.list_records
    def get(self, request: Request) -> Response:
        records = _filtered(self.get_queryset(), **parse_query(RecordFilters, request))
        page = self.paginate_queryset(records)
        return self.get_paginated_response(RecordSerializer(page, many=True).data)


class RecordView(GenericAPIView[ProcessingRecord]):
    """What was decided about one order."""

    queryset = ProcessingRecord.objects.all()
    serializer_class = RecordSerializer

    def get_view_name(self) -> str:
        return "Processing record"

    @openapi.read_record
    def get(self, request: Request, order_id: str) -> Response:
        try:
            record = self.get_queryset().get(order_id=UUID(order_id))
        except (ValueError, ProcessingRecord.DoesNotExist):
            raise Problem(404, openapi.RECORD_NOT_FOUND) from None
        return Response(RecordSerializer(record).data)


def _filtered(
    records: QuerySet[ProcessingRecord],
    *,
    outcome: str | None = None,
    order_id: UUID | None = None,
    customer_id: str | None = None,
    correlation_id: str | None = None,
    created_after: Any = None,
    created_before: Any = None,
) -> QuerySet[ProcessingRecord]:
    wanted = {
        "outcome": outcome,
        "order_id": order_id,
        "customer_id": customer_id,
        "correlation_id": correlation_id,
        "finished_at__gt": created_after,
        "finished_at__lt": created_before,
    }
    return records.filter(**{lookup: value for lookup, value in wanted.items() if value is not None})
