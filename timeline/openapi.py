"""What the OpenAPI schemas of both services say about timelines."""

from collections.abc import Mapping, Sequence
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from httpapi.openapi import REQUEST_ID, problem_responses, retry_after
from timeline.assembly import MAX_EVENTS
from timeline.serializers import HalfParameters, TimelineSerializer

ORDER_NOT_FOUND = "Order not found"
NO_ORDER_ID = "This is no id of an order"

_ID = "019ac5f2-8d0b-7c3e-9a51-6f2b8e4d7a10"
_MESSAGE = {"type": "order.created", "message_id": "019ac5f2-8d0c-7d11-8a02-4c1d9e3b5f20"}


def _event(at: str, seconds: float | None, service: str, kind: str, title: str, **more: Any) -> dict[str, Any]:
    return {
        "at": f"2026-11-22T12:00:{at}Z",
        "seconds_since_previous": seconds,
        "service": service,
        "kind": kind,
        "title": title,
        "severity": "info",
        "detail": {},
        "link": "",
        **more,
    }


_ACCEPTED = _event("00.000000", None, "orders", "accepted", "Accepted", detail={"lines": 2})
_RECORD = f"processing/processingrecord/{_ID}/change/"
_TRIED = _event(
    "00.030000",
    0.01,
    "processor",
    "tried",
    "Try 1 failed, waits 1s",
    severity="warning",
    detail={"error": "RuntimeError: The stock service is away", "place": "shop.rules.reserve", **_MESSAGE, "try": 1}
    | {"waits": "1s"},
    link="messaging/failuregroup/7/change/",
)
_RECEIVED = [
    _event("00.020000", 0.02, "orders", "published", "Published order.created", detail=_MESSAGE),
    _TRIED,
    _event("01.040000", 1.01, "processor", "received", "Received order.created", detail=_MESSAGE),
    _event("01.041000", 0.001, "processor", "decided", "Decided: completed", severity="good", link=_RECORD),
]
_FINAL = _event("01.060000", 0.019, "orders", "final", "Completed", severity="good")
_ANSWER = {
    "order_id": _ID,
    "service": "orders",
    "status": "completed",
    "correlation_id": "5f2c9a7e31d84b6f9c0e1d2a3b4c5d6e",
    "summary": "Completed 1.06 s after it was accepted.",
    "waits_for": None,
    "is_whole": True,
    "notes": [],
    "events": [_ACCEPTED, *_RECEIVED, _FINAL],
}
_WAITS = "A dead letter of the processor waits for somebody: RuntimeError: The stock service is away"


def _example(name: str, **changes: Any) -> OpenApiExample:
    return OpenApiExample(name, _ANSWER | changes, response_only=True, status_codes=["200"])


def _schema(
    *,
    operation_id: str,
    tag: str,
    description: str,
    not_found: str,
    parameters: Sequence[Any],
    responses: Mapping[Any, Any],
    examples: Sequence[OpenApiExample],
) -> Any:
    return extend_schema(
        operation_id=operation_id,
        tags=[tag],
        summary="Read what happened to an order",
        description=f"{description} At most {MAX_EVENTS} events; `notes` say what is left out.",
        parameters=[
            OpenApiParameter("order_id", OpenApiTypes.UUID, OpenApiParameter.PATH, description="The id of the order."),
            *parameters,
            retry_after(503),
            *REQUEST_ID,
        ],
        responses={
            200: OpenApiResponse(TimelineSerializer, "What happened to it, oldest first."),
            **problem_responses(401, 404, 503, details={404: not_found}),
            **responses,
        },
        examples=list(examples),
    )


read_order_timeline = _schema(
    operation_id="readOrderTimeline",
    tag="Orders",
    description="Everything that happened to the order in both services, on one time axis, and what it waits for now. "
    "The processor is asked for its half; when it does not answer within two seconds, `is_whole` is false, `notes` say "
    "why, and the order service's half stands alone.",
    not_found=ORDER_NOT_FOUND,
    parameters=[],
    responses={},
    examples=[
        _example("Completed at the second try"),
        _example(
            "Waiting for somebody",
            status="pending",
            summary=_WAITS,
            waits_for={"service": "processor", "text": _WAITS, "link": "messaging/deadletter/5/change/"},
            events=[_ACCEPTED, _RECEIVED[0], _TRIED],
        ),
    ],
)

read_record_timeline = _schema(
    operation_id="readRecordTimeline",
    tag="Records",
    description="The processor's half of the order's timeline; `GET /orders/{order_id}/timeline` of the order service "
    "is the whole. An order that has not come here has no events: it may be on its way.",
    not_found=NO_ORDER_ID,
    parameters=[HalfParameters],
    responses=problem_responses(
        422,
        details={422: '?final: "yes" is not a valid choice.'},
        errors=[{"pointer": "?final", "detail": '"yes" is not a valid choice.'}],
    ),
    examples=[
        _example(
            "A completed order",
            service="processor",
            summary="Decided: completed.",
            is_whole=False,
            events=[_RECEIVED[0] | {"seconds_since_previous": None}, *_RECEIVED[1:]],
        )
    ],
)
