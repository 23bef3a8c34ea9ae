"""Mistakes in a service's settings that would only show in use."""

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

MIDDLEWARE = "httpapi.middleware.ProblemMiddleware"


@register
def check_apps(**kwargs: Any) -> list[CheckMessage]:
    """httpapi.E001: the templates of httpapi must be found before those they replace."""
    order = list(settings.INSTALLED_APPS)
    later = [app for app in ("django.contrib.admin", "rest_framework") if app in order]
    if all(order.index("httpapi") < order.index(app) for app in later):
        return []
    return [
        Error(
            f"httpapi comes after {' or '.join(later)} in INSTALLED_APPS.",
            hint="Move it before them, as httpapi.settings.APPS has it.",
            id="httpapi.E001",
        )
    ]


@register
def check_middleware(**kwargs: Any) -> list[CheckMessage]:
    """httpapi.E002: without the middleware chunked bodies are taken for empty and foreign charsets end as text/html."""
    if MIDDLEWARE in settings.MIDDLEWARE:
        return []
    return [
        Error(f"{MIDDLEWARE} is missing in MIDDLEWARE.", hint="httpapi.settings.MIDDLEWARE has it.", id="httpapi.E002")
    ]


def check_admin_url(name: str, *, id: str) -> list[CheckMessage]:
    """For a service's own checks: the setting of this name, the address of another service's admin, can be one."""
    parts = urlsplit(getattr(settings, name))
    if parts.scheme in ("http", "https") and parts.netloc and parts.path.endswith("/"):
        return []
    text = f"{name} must be an http(s) URL that ends with a slash."
    return [Error(text, hint="For example https://orders.example.com/admin/", id=id)]
