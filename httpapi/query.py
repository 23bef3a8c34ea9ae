"""Query parameters, checked by a serializer as a body would be."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request

from httpapi.problems import error, invalid, pointers


def parse_query(serializer: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    """The validated query parameters. Raises Problem 422 whose pointers name them: `?status`.

    Of a parameter that is given twice the last one counts. Unknown parameters are let through.
    """
    # A plain dict: a QueryDict would be taken for an HTML form, where "" stands for nothing.
    parsed = serializer(data=request.query_params.dict())
    if not parsed.is_valid():
        raise invalid([error(f"?{e['pointer'].removeprefix('/')}", e["detail"]) for e in pointers(parsed.errors)])
    validated: dict[str, Any] = parsed.validated_data
    return validated
