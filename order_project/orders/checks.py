"""Finds at start what cannot work though its type is right. Each error names its setting and has an id."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from httpapi.checks import check_admin_url


@register("settings")
def check_limits(**kwargs: Any) -> list[CheckMessage]:
    """The limits of an order are within what the database can keep, those of waiting within what makes sense."""
    found: list[CheckMessage] = []
    for name, least, most, check_id in (
        ("MAX_ITEMS_PER_ORDER", 1, 100_000, "orders.E001"),
        ("API_MAX_BODY_BYTES", 1, 100 * 1024 * 1024, "orders.E004"),
        ("WAITING_MAX_SECONDS", 0, 3600, "orders.E006"),
        ("WAITING_STREAM_SECONDS", 1, 24 * 3600, "orders.E007"),
        ("WAITING_MAX_CLIENTS", 0, 100_000, "orders.E008"),
    ):
        value = getattr(settings, name)
        if not least <= value <= most:
            found.append(Error(f"{name} is {value}; it must lie between {least} and {most}.", id=check_id))
    return found


@register("settings")
def check_processor_admin_url(**kwargs: Any) -> list[CheckMessage]:
    """The link from an order to its processing record leads somewhere."""
    return check_admin_url("PROCESSOR_ADMIN_URL", id="orders.E005")
