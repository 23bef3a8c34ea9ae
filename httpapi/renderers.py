"""How answers are written: JSON by orjson, and the browsable API for people."""

from collections.abc import Mapping
from typing import Any

import orjson
from rest_framework import renderers
from rest_framework.utils.encoders import JSONEncoder

from httpapi import browsable
from httpapi.browsable import Page
from httpapi.problems import PROBLEM_JSON, ProblemResponse

_fallback = JSONEncoder().default
# Dates as REST framework's fields write them (`…Z`), even where a view answers with a bare datetime.
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
    """The API for people: the answer as facts and tables, filters as controls, and a form that is filled in.

    A view says more about itself as `page`, a `Page`. After a POST the form holds what was sent.
    """

    def get_context(self, data: Any, accepted_media_type: str | None, renderer_context: Mapping[str, Any]) -> Any:
        context = super().get_context(data, accepted_media_type, renderer_context)
        view, request, response = context["view"], context["request"], context["response"]
        page: Page = getattr(view, "page", _NO_HINTS)
        sent = _sent(request)
        if isinstance(response, ProblemResponse):
            context["response_headers"]["Content-Type"] = PROBLEM_JSON
            context |= _told(response, data, sent, context)
        else:
            context |= _readable(response, data, page, view, request)
        if page.filters is not None and request.method == "GET":
            errors = {mistake.pointer: mistake.detail for mistake in context.get("mistakes", ())}
            context |= _filters(page.filters, view, request, errors)
        if context["raw_data_post_form"]:
            context |= _form(page, context["raw_data_post_form"], request, response, data)
        context["content"] = browsable.highlighted(context["content"], own=request.build_absolute_uri("/"))
        context["hints"] = page
        context["get_command"] = browsable.curl(request.build_absolute_uri(), headers=_credentials(request))
        return context

    def get_raw_data_form(self, data: Any, view: Any, method: str, request: Any) -> Any:
        form: Any = super().get_raw_data_form(data, view, method, request)
        if not form:  # this person may not use this method
            return form
        content = _sent(request) if request.method == method else None
        examples = getattr(view, "page", _NO_HINTS).examples
        if content is None and examples and method == "POST":
            content = _as_text(next(iter(examples.values())))
        if content is not None:
            form.fields["_content"].initial = content
        return form


_NO_HINTS = Page()


def _told(response: Any, problem: Mapping[str, Any], sent: str | None, context: Mapping[str, Any]) -> dict[str, Any]:
    """What went wrong. Opening a page by GET that only takes POST counts as nothing wrong."""
    if response.status_code == 405 and context["request"].method == "GET" and context["raw_data_post_form"]:
        return {"only_takes": True}
    errors = problem["errors"]
    return {
        "problem": problem,
        "mistakes": browsable.mistakes(errors, sent),
        "more_mistakes": max(0, len(errors) - browsable.MAX_SHOWN_ERRORS),
    }


def _readable(response: Any, data: Any, page: Page, view: Any, request: Any) -> dict[str, Any]:
    """The answer, and where one can go on from it."""
    if not isinstance(data, Mapping):
        return {}
    location = response.headers.get("Location")
    context: dict[str, Any] = {"location": location, "replayed": response.headers.get("Idempotent-Replayed") == "true"}
    if request.method in ("GET", "POST"):
        context["links"] = page.links(data, request)
        if page.unfinished(data):
            context["follow"] = location or request.get_full_path()
    if request.method == "GET" and data.keys() == {"next", "previous", "results"}:
        context["reach"] = browsable.reach_of(data, view.paginator.order, request)
        context["table"] = browsable.table_of("results", data["results"], page)
    elif request.method != "OPTIONS":
        context["part"] = browsable.part_of(data, page)
    return context


def _filters(filters: Any, view: Any, request: Any, errors: Mapping[str, str]) -> dict[str, Any]:
    given = request.query_params.dict()
    controls = browsable.controls(filters, given, errors)
    known = {control.name for control in controls}
    paginator = getattr(view, "paginator", None)
    if paginator is not None:
        controls.append(paginator.control(given, errors))
    return {
        "controls": controls,
        "filtered": [control for control in controls if control.name in known and control.value],
        # What chose this page instead of JSON must also choose the next one.
        "kept": {name: given[name] for name in ("format",) if name in given},
    }


def _form(page: Page, form: Any, request: Any, response: Any, data: Any) -> dict[str, Any]:
    headers = {name: request.headers.get(name, "") for name in page.headers}
    content = form.fields["_content"].initial or ""
    sent_headers = {"Content-Type": "application/json", **{name: value for name, value in headers.items() if value}}
    empty = isinstance(data, Mapping) and data.get("results") == [] and not request.query_params
    return {
        "examples": [{"name": name, "body": _as_text(body)} for name, body in page.examples.items()],
        "offered_headers": [
            {"name": name, "help": text, "value": headers[name]} for name, text in page.headers.items()
        ],
        # Where there is nothing to read, people have come to send something.
        "form_open": request.method == "POST" or response.status_code == 405 or empty,
        "post_command": browsable.curl(
            request.build_absolute_uri(request.path), headers={**_credentials(request), **sent_headers}, body=content
        ),
    }


def _credentials(request: Any) -> dict[str, str]:
    return browsable.TOKEN if request.user and request.user.is_authenticated else {}


def _as_text(body: Any) -> str:
    return orjson.dumps(body, _fallback, orjson.OPT_INDENT_2).decode()


def _sent(request: Any) -> str | None:
    """The body of the request as text; None if it is empty or was not read."""
    body = getattr(request._request, "_body", b"")
    return body.decode(errors="replace") if body else None


class EventStreamRenderer(JSONRenderer):
    """For views that write server-sent events themselves. This renders their errors only, which are JSON."""

    media_type = "text/event-stream"
