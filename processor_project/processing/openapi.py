"""What the OpenAPI schema says about the records: parameters, answers, errors, and an example of each."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from httpapi.openapi import REQUEST_ID, problem_responses, retry_after
from httpapi.pagination import NO_SUCH_PAGE
from processing.serializers import RecordDetailSerializer, RecordFilters, RecordSerializer

RECORD_NOT_FOUND = "Processing record not found"

_COMPLETED = {
    "order_id": "019ab3c4-5d6e-7f80-9a1b-2c3d4e5f6071",
    "outcome": "completed",
    "reason": None,
    "customer_id": "customer-1",
    "total_amount": 46.0,
    "item_count": 2,
    "attempts": 1,
    "message_id": "019ab3c4-5d70-7112-8f3a-6b5c4d3e2f10",
    "correlation_id": "5f2c9a7e31d84b6f9c0e1d2a3b4c5d6e",
    "started_at": "2026-11-22T09:30:00.120451Z",
    "finished_at": "2026-11-22T09:30:00.120502Z",
    "duration_ms": 0.051,
    "restored_at": None,
}
_FAILED = _COMPLETED | {
    "outcome": "failed",
    "reason": "The total of 150000.00 is above the limit of 100000.00.",
    "total_amount": 150000.0,
}

_ANSWERS = [
    OpenApiExample("Completed", _COMPLETED, response_only=True, status_codes=["200"]),
    OpenApiExample("Failed", _FAILED, response_only=True, status_codes=["200"]),
]
_WITH_ORDER = OpenApiExample(
    "With its order",
    _COMPLETED
    | {
        "order": {
            "items": [
                {"product_id": "espresso-beans-1kg", "quantity": 2, "price": 18.5},
                {"product_id": "paper-filters", "quantity": 1, "price": 9.0},
            ],
            "created_at": "2026-11-22T09:30:00.000000Z",
        }
    },
    response_only=True,
    status_codes=["200"],
)

_BAD_PARAMETER = problem_responses(
    422,
    details={422: '?outcome: "done" is not a valid choice.'},
    errors=[{"pointer": "?outcome", "detail": '"done" is not a valid choice.'}],
)

list_records_schema = extend_schema(
    operation_id="listRecords",
    tags=["Records"],
    summary="List processing records",
    description="Newest first, in pages. Filters narrow each other. Follow `next` until it is null; orders decided "
    "meanwhile do not shift the pages.",
    parameters=[RecordFilters, retry_after(503), *REQUEST_ID],
    responses={
        200: OpenApiResponse(RecordSerializer(many=True), "A page of records."),
        **problem_responses(401, 404, 503, details={404: NO_SUCH_PAGE}),
        **_BAD_PARAMETER,
    },
    examples=_ANSWERS,
)

read_record_schema = extend_schema(
    operation_id="readRecord",
    tags=["Records"],
    summary="Read a processing record",
    parameters=[
        OpenApiParameter("order_id", OpenApiTypes.UUID, OpenApiParameter.PATH, description="The id of the order."),
        retry_after(503),
        *REQUEST_ID,
    ],
    responses={
        200: OpenApiResponse(RecordDetailSerializer, "What was decided about the order."),
        **problem_responses(401, 404, 503, details={404: RECORD_NOT_FOUND}),
    },
    examples=[_WITH_ORDER],
)
