"""Health and metrics over HTTP. Plain views: no authentication, no session, no content negotiation.

Exempt from CSRF protection only so that a wrong method is told so: they change nothing.
"""

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from observability.health import run_checks
from observability.metrics import scrape_registry


def _answer(healthy: bool, checks: dict[str, dict[str, Any]]) -> JsonResponse:
    body = {"status": "healthy" if healthy else "unhealthy", "checks": checks}
    return JsonResponse(body, status=200 if healthy else 503)


@csrf_exempt
@require_safe
@never_cache
def health(request: HttpRequest) -> JsonResponse:
    """Everything this service needs: 200 when all checks pass, else 503."""
    return _answer(*run_checks())


@csrf_exempt
@require_safe
@never_cache
def live(request: HttpRequest) -> JsonResponse:
    """The process answers. Touches nothing else: a restart would not bring back a database."""
    return _answer(True, {})


@csrf_exempt
@require_safe
@never_cache
def ready(request: HttpRequest) -> JsonResponse:
    """Requests can be served: the checks of READINESS_CHECKS. Without the broker they can, the outbox holds them."""
    names: Iterable[str] = settings.READINESS_CHECKS
    return _answer(*run_checks(names))


@csrf_exempt
@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus text, of all gunicorn workers together.

    The same for everybody: the library's negotiation fails on an Accept header that it does not understand.
    """
    return HttpResponse(generate_latest(scrape_registry()), content_type=CONTENT_TYPE_PLAIN_0_0_4)
