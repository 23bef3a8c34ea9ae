"""What the OpenAPI schema says about the ledger."""

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from httpapi.openapi import REQUEST_ID, problem_responses, retry_after
from ledger.book import MAX_PAGE, book
from ledger.serializers import LedgerSerializer

_EXAMPLE = {
    "service": "orders",
    "next": "https://orders.example.com/ledger?after=order%3A019ac5f2-8d0b-7c3e-9a51-6f2b8e4d7a10&limit=1",
    "queued": None,
    "results": [
        {
            "order_id": "019ac5f2-8d0b-7c3e-9a51-6f2b8e4d7a10",
            "place": "order",
            "state": "completed",
            "since": "2026-11-22T12:00:00.350000Z",
            "lines": 2,
            "discarded": False,
        }
    ],
}

read_ledger = extend_schema(
    operation_id="readLedger",
    tags=["Ledger"],
    summary="Read the book of this service",
    description="What this service knows of every order. `manage.py reconcile` of the other service reads "
    "it to compare it with its own. Follow `next` until it is null.",
    parameters=[
        OpenApiParameter("after", {"type": "string", "pattern": book().places}, description="Take it from `next`."),
        OpenApiParameter(
            "limit",
            {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 1000},
            description="How many entries on a page.",
        ),
        retry_after(503),
        *REQUEST_ID,
    ],
    responses={
        200: OpenApiResponse(LedgerSerializer, "A page of the book."),
        **problem_responses(401, 503),
        **problem_responses(
            422,
            details={422: "?after: This is no place in the book; take it from `next`."},
            errors=[{"pointer": "?after", "detail": "This is no place in the book; take it from `next`."}],
        ),
    },
    examples=[OpenApiExample("The first of several pages", _EXAMPLE, response_only=True, status_codes=["200"])],
)
