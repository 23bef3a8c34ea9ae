"""How answers are written: JSON by orjson, and the browsable API for people."""

from collections.abc import Mapping
from typing import Any

import orjson
from rest_framework import renderers
from rest_framework.utils.encoders import JSONEncoder

from httpapi.problems import PROBLEM_JSON, ProblemResponse

_fallback = JSONEncoder().default
# Dates as REST framework's fields write them (`…Z`), also where a view answers with a bare one.
_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME


class JSONRenderer(renderers.JSONRenderer):
    """REST framework's JSON, written by orjson: several times faster, and always UTF-8 and compact.

    `Accept: application/json; indent=…` and the browsable API get two spaces.
    """

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        if data is None:
            return b""
        indent = renderer_context.get("indent") if renderer_context else None
        if indent is None and accepted_media_type and ";" in accepted_media_type:
            indent = self.get_indent(accepted_media_type, renderer_context or {})
        return orjson.dumps(data, _fallback, _OPTIONS | orjson.OPT_INDENT_2 if indent else _OPTIONS)


class BrowsableAPIRenderer(renderers.BrowsableAPIRenderer):
    """The API for people. The raw POST form starts with an example that works when sent as it stands.

    A view names its example as `example_body`. After a POST that was refused, the form holds what was sent.
    """

    def get_context(self, data: Any, accepted_media_type: str | None, renderer_context: Mapping[str, Any]) -> Any:
        context = super().get_context(data, accepted_media_type, renderer_context)
        if isinstance(context["response"], ProblemResponse):
            context["response_headers"]["Content-Type"] = PROBLEM_JSON
        return context

    def get_raw_data_form(self, data: Any, view: Any, method: str, request: Any) -> Any:
        form: Any = super().get_raw_data_form(data, view, method, request)
        if not form:  # this method is not for this person
            return form
        content = _sent(view, request, method)
        example = getattr(view, "example_body", None)
        if content is None and example is not None and method == "POST":
            content = orjson.dumps(example, _fallback, orjson.OPT_INDENT_2).decode()
        if content is not None:
            form.fields["_content"].initial = content
        return form


def _sent(view: Any, request: Any, method: str) -> str | None:
    """The body of the request when it came by this method and was refused, as far as it is text and was read."""
    if request.method != method or not 400 <= view.response.status_code < 500:
        return None
    body = getattr(request._request, "_body", b"")
    return body.decode(errors="replace") if body else None
