"""The first and last thing of every request: ids in, ids out, one log line, two metrics."""

import logging
from collections.abc import Callable
from time import perf_counter

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from prometheus_client import Counter, Histogram

from observability.context import bind, is_correlation_id, is_traceparent, new_correlation_id, new_traceparent
from observability.parked import PARKED, RESUMED, WAITED, Parked

logger = logging.getLogger("observability.request")

REQUESTS = Counter("http_requests", "HTTP requests answered.", ["method", "route", "status"])
DURATIONS = Histogram("http_request_duration_seconds", "Time to answer an HTTP request.", ["method", "route"])

UNMATCHED = "unmatched"
"""The route of a request that no URL pattern took. The path itself would be a new series for every typo."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_QUIET = ("/health", "/metrics")

type GetResponse = Callable[[HttpRequest], HttpResponseBase]


class CorrelationMiddleware:
    """Binds the ids for the request, answers with `X-Request-ID`, and records the request once it is answered.

    Must be the first middleware, so that whatever the others do or log is inside. Health, metrics and static files
    are logged at DEBUG: they say nothing about the shop and come every few seconds.

    A request that waits is recorded once, when it is answered. Its wait is in the line; the metric, which is to show
    when the service becomes slow, is without it.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response
        # No URL pattern leads to static files: whitenoise answers for them before.
        self._static = settings.STATIC_URL or "/static/"
        self._quiet = (*_QUIET, self._static)
        # Looking up a labelled metric costs more than counting; there are only as many as routes, methods and statuses.
        self._metrics: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        started = perf_counter()
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        correlation_id = given if given and is_correlation_id(given) else new_correlation_id()
        trace = request.META.get("HTTP_TRACEPARENT", "")
        if not trace or not is_traceparent(trace):
            trace = new_traceparent()
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
        # The method is the client's text too: an invented one must not become a series.
        method = request.method if request.method in _METHODS else "OTHER"
        status = response.status_code
        key = (method, route, status)
        metrics = self._metrics.get(key)
        if metrics is None:
            metrics = (REQUESTS.labels(method, route, status), DURATIONS.labels(method, route))
            self._metrics[key] = metrics
        waited = request.META.get(WAITED, 0.0)
        metrics[0].inc()
        metrics[1].observe(max(0.0, seconds - waited))
        level = logging.DEBUG if request.path.startswith(self._quiet) else logging.INFO
        if logger.isEnabledFor(level):
            logger.log(
                level,
                "request",
                extra={
                    "method": method,
                    "path": request.path,
                    "route": route,
                    "status": status,
                    "duration_ms": round(seconds * 1000, 2),
                    **({"waited_ms": round(waited * 1000, 2)} if waited else {}),
                },
            )
