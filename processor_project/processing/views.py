"""The API of the processing records: /records and /records/{order_id}. It only reads."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema_view
from rest_framework.generics import ListAPIView, RetrieveAPIView

from httpapi.problems import Problem
from httpapi.query import parse_query
from processing import openapi, pages
from processing.models import ProcessingRecord
from processing.serializers import RecordDetailSerializer, RecordFilters, RecordSerializer


@extend_schema_view(get=openapi.list_records_schema)
class RecordListView(ListAPIView[ProcessingRecord]):
    """What was decided about the orders, newest first."""

    queryset = ProcessingRecord.objects.defer("order")
    serializer_class = RecordSerializer
    ordering = ("-finished_at", "-order_id")
    page = pages.RECORDS

    def get_view_name(self) -> str:
        return "Processing records"

    def filter_queryset(self, queryset: QuerySet[ProcessingRecord, Any]) -> QuerySet[ProcessingRecord, Any]:
        wanted = parse_query(RecordFilters, self.request)
        return queryset.filter(**{RecordFilters.LOOKUPS[name]: value for name, value in wanted.items()})


@extend_schema_view(get=openapi.read_record_schema)
class RecordView(RetrieveAPIView[ProcessingRecord]):
    """What was decided about one order."""

    queryset = ProcessingRecord.objects.all()
    serializer_class = RecordDetailSerializer
    page = pages.RECORD

    def get_view_name(self) -> str:
        return "Processing record"

    def get_object(self) -> ProcessingRecord:
        try:
            return self.get_queryset().get(order_id=UUID(self.kwargs["order_id"]))
        except (ValueError, ProcessingRecord.DoesNotExist):
            raise Problem(404, openapi.RECORD_NOT_FOUND) from None
