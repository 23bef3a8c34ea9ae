"""Query parameters, checked by a serializer as a body would be."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request

from httpapi.problems import error, invalid, pointers


def parse_query(serializer: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    """The validated query parameters. Raises Problem 422 with pointers that name them: `?status`.

    If a parameter is given twice, the last one counts. Unknown parameters are ignored. For a page an empty parameter
    counts as not given: browsers also send the fields of a form that nobody filled in.
    """
    # A plain dict: a QueryDict would be taken for an HTML form, where "" stands for nothing.
    given = request.query_params.dict()
    if asked_by_page(request):
        given = {name: value for name, value in given.items() if value}
    parsed = serializer(data=given)
    if not parsed.is_valid():
        raise invalid([error(f"?{e['pointer'].removeprefix('/')}", e["detail"]) for e in pointers(parsed.errors)])
    validated: dict[str, Any] = parsed.validated_data
    return validated


def asked_by_page(request: Request) -> bool:
    """Whether the browsable API is to answer."""
    renderer = getattr(request, "accepted_renderer", None)
    return renderer is not None and renderer.format == "api"
