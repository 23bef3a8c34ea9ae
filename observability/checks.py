"""Mistakes in a service's settings that would only show in use."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.utils.module_loading import import_string

MIDDLEWARE = "observability.middleware.CorrelationMiddleware"


@register("settings")
def check_middleware(**kwargs: Any) -> list[CheckMessage]:
    """observability.E001: what other middleware does before this one has no correlation id and is not measured."""
    if list(settings.MIDDLEWARE[:1]) == [MIDDLEWARE]:
        return []
    return [Error(f"{MIDDLEWARE} is not the first of MIDDLEWARE.", id="observability.E001")]


@register("settings")
def check_dotted_paths(**kwargs: Any) -> list[CheckMessage]:
    """observability.E002: a health check, a metrics collector or `serving`'s WAITING_READY that cannot be imported."""
    health = {**settings.HEALTH_CHECKS, **getattr(settings, "HEALTH_REPORTS", {})}
    waiting = [settings.WAITING_READY] if hasattr(settings, "WAITING_READY") else []
    paths = [*health.values(), *getattr(settings, "METRICS_COLLECTORS", ()), *waiting]
    return [
        Error(
            f"{path} in HEALTH_CHECKS, METRICS_COLLECTORS or WAITING_READY cannot be imported: {problem}",
            id="observability.E002",
        )
        for path in paths
        if (problem := _import_problem(path))
    ]


@register("settings")
def check_readiness(**kwargs: Any) -> list[CheckMessage]:
    """observability.E003: READINESS_CHECKS may only name what HEALTH_CHECKS has."""
    unknown = [name for name in settings.READINESS_CHECKS if name not in settings.HEALTH_CHECKS]
    if not unknown:
        return []
    return [Error(f"READINESS_CHECKS names {', '.join(unknown)}, unknown to HEALTH_CHECKS.", id="observability.E003")]


def _import_problem(path: str) -> str:
    try:
        import_string(path)
    except ImportError as error:
        return str(error)
    return ""
