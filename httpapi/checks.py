"""Mistakes in a service's settings that would only show in use."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.contrib.admin import autodiscover
from django.contrib.admin.checks import check_admin_app
from django.core.checks import CheckMessage, Error, Tags, register

MIDDLEWARE = "httpapi.middleware.ProblemMiddleware"


@register("settings")
def check_apps(**kwargs: Any) -> list[CheckMessage]:
    """httpapi.E001: the templates of httpapi must be found before those they replace."""
    order = list(settings.INSTALLED_APPS)
    later = [app for app in order if app.partition(".apps.")[0] in ("django.contrib.admin", "rest_framework")]
    if all(order.index("httpapi") < order.index(app) for app in later):
        return []
    return [
        Error(
            f"httpapi comes after {' or '.join(later)} in INSTALLED_APPS.",
            hint="Move it before them, as httpapi.settings.APPS has it.",
            id="httpapi.E001",
        )
    ]


@register("settings")
def check_middleware(**kwargs: Any) -> list[CheckMessage]:
    """httpapi.E002: without the middleware chunked bodies count as empty, and foreign charsets get text/html errors."""
    if MIDDLEWARE in settings.MIDDLEWARE:
        return []
    return [
        Error(f"{MIDDLEWARE} is missing in MIDDLEWARE.", hint="httpapi.settings.MIDDLEWARE has it.", id="httpapi.E002")
    ]


@register(Tags.admin)
def check_admin(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Runs Django's own checks again for all pages of the admin: the first run may have come before there were any."""
    autodiscover()
    return check_admin_app(app_configs, **kwargs)


def check_admin_url(name: str, *, id: str) -> list[CheckMessage]:
    """For a service's own checks: whether the setting of this name can be the address of another service's admin."""
    parts = urlsplit(getattr(settings, name))
    if parts.scheme in ("http", "https") and parts.netloc and parts.path.endswith("/"):
        return []
    text = f"{name} must be an http(s) URL that ends with a slash."
    return [Error(text, hint="For example https://orders.example.com/admin/", id=id)]
