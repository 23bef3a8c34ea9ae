"""The first and last thing of every request that Django answers: ids in, ids out, one log line, two metrics."""

import logging
from collections.abc import Callable
from time import perf_counter

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from observability import requests
from observability.context import bind
from serving.parked import PARKED, RESUMED, WAITED, Parked

UNMATCHED = "unmatched"
"""The route of a request that no URL pattern took. The path itself would be a new series for every typo."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_QUIET = ("/health", "/metrics")

type GetResponse = Callable[[HttpRequest], HttpResponseBase]


class CorrelationMiddleware:
    """Binds the ids for the request, answers with `X-Request-ID`, and records the request once it is answered.

    Must be the first middleware, so that whatever the others do or log is inside. Health, metrics and static files
    are logged at DEBUG: they say nothing about the shop and come every few seconds.

    A request that waits is recorded once, when it is answered.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response
        # No URL pattern leads to static files: whitenoise answers for them before it comes to that.
        self._static = settings.STATIC_URL or "/static/"
        self._quiet = (*_QUIET, self._static)

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        started = perf_counter()
        correlation_id, trace = requests.ids_of(request.META)
        if RESUMED in request.META:
            before: Parked = request.META[RESUMED]
            started, correlation_id, trace = before.started, before.correlation_id, before.traceparent
        with bind(correlation_id=correlation_id, traceparent=trace):
            response = self._get_response(request)
            response.headers["X-Request-ID"] = correlation_id
            if PARKED in request.META:
                parked: Parked = request.META[PARKED]
                parked.started, parked.correlation_id, parked.traceparent = started, correlation_id, trace
            else:
                self._record(request, response, perf_counter() - started)
        return response

    def _record(self, request: HttpRequest, response: HttpResponseBase, seconds: float) -> None:
        match = request.resolver_match
        if match is not None:
            route = f"/{match.route}"
        else:
            route = "static" if request.path.startswith(self._static) else UNMATCHED
        requests.record(
            # The method is the client's text too: an invented one must not become a series.
            method=request.method if request.method in _METHODS else "OTHER",
            path=request.path,
            route=route,
            status=response.status_code,
            seconds=seconds,
            waited=request.META.get(WAITED, 0.0),
            level=logging.DEBUG if request.path.startswith(self._quiet) else logging.INFO,
        )
