"""The fast path: what programs ask for most, answered without Django.

Of the CPU time of a plain `POST`, two thirds go into Django's handler, into middleware that looks for cookies, and into
REST framework's negotiation, all to find that there is nothing special about it. So a request that has nothing special
about it gets its answer here, by the same services and with the same headers, log line and metrics. Django answers all
others. That takes a third off a POST's CPU time, gunicorn's part included.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import responses
from io import BytesIO
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import orjson
from django.conf import settings
from django.core.handlers.exception import response_for_exception
from django.core.handlers.wsgi import WSGIRequest
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponse
from django.http.request import split_domain_port, validate_host
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.security import SecurityMiddleware
from django.urls import resolve
from django.utils.module_loading import import_string
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.views import APIView

from httpapi.authentication import TokenAuthentication
from httpapi.negotiation import PLAIN_ACCEPT
from httpapi.parsers import cut_off, max_body_bytes
from httpapi.problems import as_problem, problem_response
from httpapi.settings import MIDDLEWARE
from observability import requests
from observability.context import bind
from serving.plain_http import Written

if TYPE_CHECKING:
    from django.contrib.auth.models import User

type Environ = dict[str, Any]
type Application = Callable[[Environ, Any], Iterable[bytes]]

_JSON = "application/json"
_TOKEN = re.compile(r"Token ([!-~]+)")
# A request that has one of these may get another answer from Django.
_SPECIAL = (
    "HTTP_CONTENT_ENCODING", "HTTP_COOKIE", "HTTP_PREFER", "HTTP_TRANSFER_ENCODING", "QUERY_STRING", "SCRIPT_NAME",
)  # fmt: skip
# With other values Django would do something that is not done here.
_EXPECTED_SETTINGS: dict[str, Any] = {
    "MIDDLEWARE": MIDDLEWARE,
    "DISALLOWED_USER_AGENTS": [],
    "FORCE_SCRIPT_NAME": None,
    "PREPEND_WWW": False,
    "USE_X_FORWARDED_HOST": False,
}


@dataclass(frozen=True, slots=True)
class PlainRequest:
    """What a view of the fast path gets to know."""

    path: str
    body: bytes
    user: "User | None"
    environ: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer in JSON, with headers of its own."""

    status: int
    data: Any
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FastView:
    """A view of the fast path, which does for plain requests what a view of REST framework does for all."""

    method: str
    path: re.Pattern[str]
    example: str
    """A path that matches. By it the view that this one stands for is found."""
    answer: Callable[[PlainRequest], Answer | None]
    """Returns None, before anything has happened, to leave the request to Django. May raise what that view may."""


class FastPath:
    """A WSGI application around Django's. `views` is the dotted path of a list of FastViews.

    Leaves a view to Django for good if it or the settings differ from what this knows, as with middleware of your own.
    """

    def __init__(self, django: Application, views: str) -> None:
        self._django = django
        self._views = [_Standing(view) for view in import_string(views) if _can_stand_for_django(view)]
        self._standing_headers = {secure: _headers_of_middleware(secure) for secure in (False, True)}
        self._hosts: set[str] = set()

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        written = self.answer(environ)
        if written is None:
            return self._django(environ, start_response)
        start_response(written.status, list(written.headers))
        return [written.body]

    def answer(self, environ: Environ) -> Written | None:
        """The whole answer to a plain request; None, before anything has happened, for one that Django has to answer.

        The worker also calls this directly (`serving.plain_http`).
        """
        started = perf_counter()
        standing = self._view_for(environ)
        if standing is None:
            return None
        correlation_id, trace = requests.ids_of(environ)
        with bind(correlation_id=correlation_id, traceparent=trace):
            close_old_connections()  # as Django does before each request
            answered = self._answer(standing, environ)
            if answered is None:
                return None
            requests.record(
                method=standing.view.method,
                path=environ["PATH_INFO"],
                route=standing.route,
                status=answered.status,
                seconds=perf_counter() - started,
            )
        headers = [
            *answered.headers,
            ("Content-Length", str(len(answered.body))),
            ("X-Request-ID", correlation_id),
            *standing.headers,
            *self._standing_headers[_is_secure(environ)],
        ]
        return Written(f"{answered.status} {responses[answered.status]}", headers, answered.body)

    def _view_for(self, environ: Environ) -> "_Standing | None":
        """The view that answers this request here; None when there is something special about the request."""
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        for standing in self._views:
            if standing.view.method == method and standing.view.path.fullmatch(path):
                break
        else:
            return None
        content_type = environ.get("CONTENT_TYPE", "")
        if (
            any(environ.get(name) for name in _SPECIAL)
            or environ.get("HTTP_ACCEPT", "") not in PLAIN_ACCEPT
            or (content_type != _JSON and (method == "POST" or content_type))
            or not self._is_allowed_host(environ.get("HTTP_HOST", ""))
            or (settings.SECURE_SSL_REDIRECT and not _is_secure(environ))
        ):
            return None
        return standing

    def _is_allowed_host(self, host: str) -> bool:
        if host in self._hosts:
            return True
        domain, _ = split_domain_port(host)
        allowed = bool(domain) and validate_host(domain, settings.ALLOWED_HOSTS)
        if allowed and len(self._hosts) < 100:
            self._hosts.add(host)
        return allowed

    def _answer(self, standing: "_Standing", environ: Environ) -> "_Answered | None":
        """The view's answer, or what Django would have answered to its error; None to leave the request to Django."""
        body = b""
        if standing.view.method == "POST":
            length = environ.get("CONTENT_LENGTH", "")
            if not length.isdecimal() or int(length) > max_body_bytes():
                return None
            try:
                body = environ["wsgi.input"].read(int(length))
            except Exception:  # Each server has its own error for a client that left.
                return _failed(environ, cut_off())
            if len(body) < int(length):
                return _failed(environ, cut_off())
            environ["wsgi.input"] = BytesIO(body)
        try:
            user = _user_of(environ)
            if user is None and standing.needs_user:
                return None
            answer = standing.view.answer(PlainRequest(environ["PATH_INFO"], body, user, environ))
        except _LeftToDjango:
            return None
        except Exception as error:
            return _failed(environ, error)
        if answer is None:
            return None
        return _Answered(answer.status, [("Content-Type", _JSON), *answer.headers.items()], orjson.dumps(answer.data))


class _LeftToDjango(Exception):
    pass


class _Answered(NamedTuple):
    """An answer as it goes out, without the headers that all answers have."""

    status: int
    headers: Iterable[tuple[str, str]]
    body: bytes


class _Standing:
    """A fast view, with what is the same in all answers of the view that it stands for."""

    def __init__(self, view: FastView) -> None:
        match = resolve(view.example)
        stood_for = _view_class(view)()
        stood_for.setup(HttpRequest())  # teaches it HEAD
        self.view = view
        self.route = f"/{match.route}"
        self.headers: Sequence[tuple[str, str]] = tuple(stood_for.default_response_headers.items())
        self.needs_user = IsAuthenticated in stood_for.permission_classes


def _view_class(view: FastView) -> type[APIView]:
    found: type[APIView] = resolve(view.example).func.view_class  # type: ignore[attr-defined]
    return found


def _can_stand_for_django(view: FastView) -> bool:
    stood_for = _view_class(view)
    return (
        all(getattr(settings, name) == value for name, value in _EXPECTED_SETTINGS.items())
        and list(stood_for.authentication_classes) == [TokenAuthentication, SessionAuthentication]
        and list(stood_for.permission_classes) in ([AllowAny], [IsAuthenticated])
        and not stood_for.throttle_classes
    )


def _headers_of_middleware(secure: bool) -> Sequence[tuple[str, str]]:
    """What Django's middleware adds to every answer."""
    scheme = "https" if secure else "http"
    request = WSGIRequest({"REQUEST_METHOD": "GET", "wsgi.url_scheme": scheme, "wsgi.input": BytesIO()})
    response = HttpResponse()
    del response.headers["Content-Type"]
    for middleware in (SecurityMiddleware, XFrameOptionsMiddleware):
        middleware(lambda request: response).process_response(request, response)
    return tuple(response.headers.items())


def _is_secure(environ: Environ) -> bool:
    if settings.SECURE_PROXY_SSL_HEADER:
        name, value = settings.SECURE_PROXY_SSL_HEADER
        if (given := environ.get(name)) is not None:
            return bool(given.split(",", 1)[0].strip() == value)
    return bool(environ["wsgi.url_scheme"] == "https")


def _user_of(environ: Environ) -> "User | None":
    """The user of the token; None without credentials. Leaves anything but a valid token to Django."""
    given = environ.get("HTTP_AUTHORIZATION")
    if given is None:
        return None
    if not (token := _TOKEN.fullmatch(given)):
        raise _LeftToDjango
    try:
        user, _ = TokenAuthentication().authenticate_credentials(token[1])
    except AuthenticationFailed:
        raise _LeftToDjango from None
    return cast("User", user)


def _failed(environ: Environ, error: Exception) -> _Answered:
    """What REST framework, or else Django, makes of an error that a view raises."""
    request = WSGIRequest(environ)
    problem = as_problem(error)
    response = problem_response(request, problem) if problem else response_for_exception(request, error)
    return _Answered(response.status_code, response.items(), response.content)
