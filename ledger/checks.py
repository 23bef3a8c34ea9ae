"""Finds at start what cannot work though its type is right. Each error names its setting and has an id."""

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, register


@register("settings")
def check_peer_url(**kwargs: Any) -> list[CheckMessage]:
    """The address of the other service's API is a URL that can be one."""
    name, url = settings.LEDGER["PEER_VARIABLE"], settings.LEDGER["PEER_URL"]
    parts = urlsplit(url)
    if parts.scheme in ("http", "https") and parts.netloc and not parts.query:
        return []
    return [Error(f"{name} must be an http(s) URL.", hint="For example https://orders.example.com", id="ledger.E001")]
