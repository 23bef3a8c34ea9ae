"""What the OpenAPI schema says about our fields and our errors."""

from typing import Any

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse
from rest_framework import serializers

from httpapi.fields import MoneyField, StrictCharField
from httpapi.problems import PROBLEM_JSON, title_of


class MoneyFieldExtension(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """Money is a JSON number, whatever REST framework's COERCE_DECIMAL_TO_STRING says."""

    target_class = MoneyField

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        field: MoneyField = self.target
        schema: dict[str, Any] = {"type": "number"}
        if direction == "request":
            schema["multipleOf"] = float(field.unit)
            schema["exclusiveMaximum"] = field.limit
            schema["exclusiveMinimum"] = 0 if field.positive else -field.limit
        return schema


class StrictCharFieldExtension(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """Text has no NUL. Where blanks around it are stripped, it has more than blanks."""

    target_class = StrictCharField

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        field: StrictCharField = self.target
        schema: dict[str, Any] = auto_schema._map_serializer_field(field, direction, bypass_extensions=True)
        if direction == "request":
            # Python strips a few characters that are no blanks in a regular expression.
            some = (
                r"[^\u0000\u001c-\u001f\u0085\s][^\u0000]*" if field.trim_whitespace and not field.allow_blank else ""
            )
            schema["pattern"] = rf"^[^\u0000]*{some}$"
        return schema


class ListExtension(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """Adds how many items a list of objects may have, which drf-spectacular leaves out."""

    target_class = "rest_framework.serializers.ListSerializer"
    match_subclasses = True

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        schema: dict[str, Any] = auto_schema._map_serializer_field(self.target, direction, bypass_extensions=True)
        least = self.target.min_length or (0 if self.target.allow_empty else 1)
        if direction == "request" and least:
            schema["minItems"] = least
        if direction == "request" and self.target.max_length is not None:
            schema["maxItems"] = self.target.max_length
        return schema


class ProblemErrorSerializer(serializers.Serializer[Any]):
    pointer = serializers.CharField(
        help_text='What it is about: a JSON Pointer into the body ("" is the body as a whole), or `?name` for a query '
        "parameter.",
    )
    detail = serializers.CharField(help_text="What is wrong with it.")


class ProblemSerializer(serializers.Serializer[Any]):
    """An error as RFC 9457 has it."""

    type = serializers.CharField(help_text="A URI that names the kind; `about:blank` says no more than the status.")
    title = serializers.CharField(help_text="The kind in words.")
    status = serializers.IntegerField(min_value=400, max_value=599, help_text="The HTTP status.")
    detail = serializers.CharField(help_text="What went wrong this time.")
    errors = ProblemErrorSerializer(  # type: ignore[assignment]  # a field here, not an attribute of the class
        many=True, help_text="Each single thing that is wrong; may be empty."
    )


_EXAMPLES: dict[int, tuple[str, str, list[dict[str, str]]]] = {
    400: ("The body does not parse.", "The body is not JSON: Expecting value, at line 1, column 10.", []),
    401: ("No credentials, or wrong ones.", "Authentication credentials were not provided.", []),
    403: ("Not allowed.", "You do not have permission to perform this action.", []),
    404: ("There is no such thing.", "Not found.", []),
    409: ("In conflict with another request.", "A request with this key is still under way.", []),
    413: ("The body is too large.", "The body is larger than the 1048576 bytes this service takes.", []),
    415: ("The body is of a kind that is not taken.", 'Unsupported media type "text/plain" in request.', []),
    422: (
        "It parses but does not hold.",
        "/items/0/price: Ensure this value is greater than 0.",
        [{"pointer": "/items/0/price", "detail": "Ensure this value is greater than 0."}],
    ),
    429: ("Too many requests.", "Request was throttled. Expected available in 5 seconds.", []),
    503: (
        "Not now: the database is away, or the service takes nothing more. Try again after `Retry-After` seconds.",
        "The database is not available. Nothing is known to be saved; try again later.",
        [],
    ),
}


def header(name: str, description: str, *, of: Any = False, required: bool = False, **schema: Any) -> OpenApiParameter:
    """A text in a header of the request, or with `of`, of the answers with these statuses (True: of all answers)."""
    return OpenApiParameter(
        name,
        {"type": "string", **schema},
        OpenApiParameter.HEADER,
        response=of,
        required=required,
        description=description,
    )


REQUEST_ID = [
    header(
        "X-Request-ID",
        "The correlation id: kept with the order, in every log line it causes, and on its events. Taken over when it "
        "is 1 to 128 letters, digits and `.` `_` `:` `-`; else one is made.",
    ),
    header("X-Request-ID", "The id under which the logs tell of this request.", of=True, required=True),
]
"""The correlation id, for `extend_schema(parameters=…)` of every operation."""


def retry_after(*statuses: int) -> OpenApiParameter:
    """`Retry-After`, for `extend_schema(parameters=…)` of operations that answer with these statuses."""
    return header("Retry-After", "Seconds to wait before trying again.", of=list(statuses), pattern="^[0-9]+$")


def problem_responses(
    *statuses: int, details: dict[int, str] | None = None, errors: list[dict[str, str]] | None = None
) -> dict[tuple[int, str], OpenApiResponse]:
    """For `extend_schema(responses={200: …, **problem_responses(404, 422)})`: each status with an example.

    `details` and, for 422, `errors` replace those of the example where a view says something more exact. Raises
    KeyError for a status that has no example here.
    """
    responses = {}
    for status in statuses:
        description, detail, example_errors = _EXAMPLES[status]
        if status == 422 and errors is not None:
            example_errors = errors
        example = {
            "type": "about:blank",
            "title": title_of(status),
            "status": status,
            "detail": (details or {}).get(status, detail),
            "errors": example_errors,
        }
        responses[(status, PROBLEM_JSON)] = OpenApiResponse(
            response=ProblemSerializer,
            description=description,
            examples=[
                OpenApiExample(
                    title_of(status),
                    value=example,
                    response_only=True,
                    status_codes=[str(status)],
                    media_type=PROBLEM_JSON,
                )
            ],
        )
    return responses
