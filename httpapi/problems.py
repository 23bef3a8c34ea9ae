"""Every error of this API is answered as RFC 9457 problem details, `application/problem+json`.

The body has `type`, `title`, `status`, `detail` and `errors`, a list of `{pointer, detail}`. A pointer into the body
is a JSON Pointer (`/items/0/price`; "" is the body as a whole), one to a query parameter is `?name`.
400 means that a request does not parse, 422 that it parses but is not valid.

People see the same errors as pages: the browsable API renders them itself, `problem_response` renders the rest.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import DatabaseError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.shortcuts import render
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.settings import api_settings

from database.errors import sqlstate
from observability.errors import in_one_line

logger = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"
RETRY_AFTER = 5
"""Seconds after which a client may try again when the database is away."""

# Python 3.12 still has the names of an older RFC for these.
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}


def title_of(status: int) -> str:
    """The title of a problem whose type is `about:blank`: the status's own phrase."""
    return _TITLES.get(status) or HTTPStatus(status).phrase


class Problem(exceptions.APIException):
    """An error to answer with, raised by services, views and parsers alike."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        title: str = "",
        type: str = "about:blank",
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status_code = status
        self.title = title or title_of(status)
        self.type = type
        self.errors = list(errors)
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The problem as it goes over the wire."""
        return {
            "type": self.type,
            "title": self.title,
            "status": self.status_code,
            "detail": str(self.detail),
            "errors": self.errors,
        }


def error(pointer: str, detail: str) -> dict[str, str]:
    """One entry of `errors`."""
    return {"pointer": pointer, "detail": detail}


def invalid(errors: Sequence[Mapping[str, str]]) -> Problem:
    """422: what was sent parses but is not valid. The detail quotes the first of the errors."""
    first = errors[0]
    detail = f"{first['pointer']}: {first['detail']}" if first["pointer"] else first["detail"]
    if len(errors) > 1:
        detail += f" And {len(errors) - 1} more."
    return Problem(422, detail, errors=errors)


def pointers(detail: Any, at: str = "") -> Iterable[dict[str, str]]:
    """The errors of a serializer, however nested, each with the JSON Pointer to what it is about."""
    if isinstance(detail, Mapping):
        for key, inner in detail.items():
            if key == api_settings.NON_FIELD_ERRORS_KEY:
                yield from pointers(inner, at)
            else:
                yield from pointers(inner, f"{at}/{str(key).replace('~', '~0').replace('/', '~1')}")
    elif isinstance(detail, (list, tuple)):
        for index, inner in enumerate(detail):
            # A list of texts is about one value; any other list has one entry per item, {} where all is well.
            yield from pointers(inner, at if isinstance(inner, str) else f"{at}/{index}")
    else:
        yield error(at, str(detail))


def as_problem(exc: Exception) -> Problem | None:
    """The problem to answer this exception with, or None when it is a fault of ours (500)."""
    match exc:
        case Problem():
            return exc
        case exceptions.ValidationError():
            return invalid(list(pointers(exc.detail)) or [error("", "Invalid input.")])
        case exceptions.APIException():
            detail = exc.detail if isinstance(exc.detail, str) else "; ".join(e["detail"] for e in pointers(exc.detail))
            return Problem(exc.status_code, detail, headers=_headers(exc))
        case Http404():
            return Problem(404, str(exc) or "Not found.")
        case PermissionDenied():
            return Problem(403, str(exc) or "You do not have permission to perform this action.")
        case RequestDataTooBig():
            return Problem(413, "The body is larger than this service takes.")
        case UnreadablePostError():
            return Problem(400, "The body could not be read to its end.")
        case DatabaseError() | InterfaceError() if is_service_unavailable(exc):
            # The text of a driver's error is for operators, not for clients.
            logger.warning("database unavailable", extra={"error": in_one_line(exc)})
            return Problem(
                503,
                "The database is not available. Nothing is known to be saved; try again later.",
                headers={"Retry-After": str(RETRY_AFTER)},
            )
    return None


def is_service_unavailable(error: Exception) -> bool:
    """Whether the error is not about the request: the database cannot be asked, or takes no writes, like a standby.

    Here a missing table counts as a fault of ours, while a consumer waits for it (`messaging.database`).
    """
    is_read_only = isinstance(error, DatabaseError) and sqlstate(error) == "25006"
    return is_read_only or isinstance(error, OperationalError | InterfaceError)


def _headers(exc: exceptions.APIException) -> dict[str, str]:
    headers = {}
    if challenge := getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if wait := getattr(exc, "wait", None):
        headers["Retry-After"] = str(int(wait))
    return headers


class ProblemResponse(Response):
    """A problem from a view: JSON with its own media type, or whatever the negotiated renderer makes of it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.body(), status=problem.status_code, headers=problem.headers)

    @property
    def status_text(self) -> str:
        return title_of(self.status_code)

    @property
    def rendered_content(self) -> Any:
        if self.accepted_renderer.format == "json":
            self.content_type = PROBLEM_JSON
        return super().rendered_content


def exception_handler(exc: Exception, context: Mapping[str, Any]) -> Response | None:
    """REST framework's EXCEPTION_HANDLER. Returns None for a fault of ours: Django then logs it and answers 500."""
    # Not at the top: this module is imported while rest_framework.views is, which imports our parsers.
    from rest_framework.views import set_rollback

    problem = as_problem(exc)
    if problem is None:
        return None
    set_rollback()
    return ProblemResponse(problem)


def wants_html(request: HttpRequest) -> bool:
    """Whether a person with a browser asks. `*/*`, which curl and most libraries send, means no browser."""
    return "text/html" in request.META.get("HTTP_ACCEPT", "")


def problem_response(request: HttpRequest, problem: Problem) -> HttpResponse:
    """A problem from outside REST framework's views: a page for people, problem+json for everybody else."""
    if wants_html(request):
        response = render(request, "httpapi/problem.html", {"problem": problem}, status=problem.status_code)
    else:
        body = orjson.dumps(problem.body())
        response = HttpResponse(body, status=problem.status_code, content_type=PROBLEM_JSON)
    for name, value in problem.headers.items():
        response.headers[name] = value
    return response


def handler400(request: HttpRequest, exception: Exception) -> HttpResponse:
    """A request that Django refuses, such as one for a host that is not ours."""
    return problem_response(request, Problem(400, "The request is not one this service can read."))


def handler403(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Something that a person who is logged in may not do."""
    return problem_response(request, Problem(403, "You do not have permission to perform this action."))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form that, by its token, was not made for whoever sends it. Django logs the reason."""
    return problem_response(
        request,
        Problem(
            403,
            "The form is from before you logged in, or its cookie is missing. Nothing was done. Go back, load the page "
            "again, and send it once more.",
        ),
    )


def handler404(request: HttpRequest, exception: Exception) -> HttpResponse:
    """A URL that leads nowhere, or a row that is not there."""
    return problem_response(request, not_found(request))


def handler500(request: HttpRequest) -> HttpResponse:
    """A fault of ours. Only says where to look: the logs have it under the request's id."""
    return problem_response(
        request, Problem(500, "The service failed. Its logs tell more under the id in the X-Request-ID header.")
    )


def not_found(request: HttpRequest) -> Problem:
    """404 for a URL that leads nowhere."""
    return Problem(404, f"There is nothing at {request.path}")
