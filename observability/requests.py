"""What is known of every HTTP request, whoever answers it: its ids, one log line, two metrics."""

import logging
from collections.abc import Mapping
from typing import Any

from prometheus_client import Counter, Histogram

from observability.context import is_correlation_id, is_traceparent, new_correlation_id, new_traceparent

logger = logging.getLogger("observability.request")

REQUESTS = Counter("http_requests", "HTTP requests answered.", ["method", "route", "status"])
DURATIONS = Histogram("http_request_duration_seconds", "Time to answer an HTTP request.", ["method", "route"])

# Looking up a labelled metric costs more than counting; there are only as many as routes, methods and statuses.
_metrics: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}


def ids_of(environ: Mapping[str, Any]) -> tuple[str, str]:
    """The correlation id and the trace context that a request brings; new ones in place of what is not valid."""
    given = environ.get("HTTP_X_REQUEST_ID", "")
    correlation_id = given if given and is_correlation_id(given) else new_correlation_id()
    trace = environ.get("HTTP_TRACEPARENT", "")
    if not trace or not is_traceparent(trace):
        trace = new_traceparent()
    return correlation_id, trace


def record(
    *,
    method: str,
    path: str,
    route: str,
    status: int,
    seconds: float,
    waited: float = 0.0,
    level: int = logging.INFO,
) -> None:
    """Counts and logs a request that has been answered. `route` and `method` become labels: both must have few values.

    `seconds` includes the seconds it has `waited`. The line says both; the metric, which is to show when the service
    becomes slow, is without the wait.
    """
    key = (method, route, status)
    metrics = _metrics.get(key)
    if metrics is None:
        metrics = _metrics[key] = (REQUESTS.labels(method, route, status), DURATIONS.labels(method, route))
    metrics[0].inc()
    metrics[1].observe(max(0.0, seconds - waited))
    if logger.isEnabledFor(level):
        extra = {
            "method": method,
            "path": path,
            "route": route,
            "status": status,
            "duration_ms": round(seconds * 1000, 2),
        }
        if waited:
            extra["waited_ms"] = round(waited * 1000, 2)
        logger.log(level, "request", extra=extra)
