"""Finds what is wrong with this service's own settings before anything starts: `manage.py check`.

`messaging` checks its own settings.
"""

from decimal import Decimal
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured

from contracts.events import MONEY_DIGITS, MONEY_PLACES
from httpapi.checks import check_admin_url
from processing.pipeline import load_steps

_STEPS_HINT = 'Dotted paths of functions that take an order, such as "processing.steps.validate".'


@register("settings")
def check_steps(**kwargs: Any) -> list[CheckMessage]:
    """`PROCESSING_STEPS` names at least one function, and all of them can be imported."""
    steps = settings.PROCESSING_STEPS
    if not isinstance(steps, list | tuple) or not all(isinstance(path, str) for path in steps):
        return [Error("PROCESSING_STEPS is not a list of dotted paths.", hint=_STEPS_HINT, id="processing.E001")]
    if not steps:
        text = "PROCESSING_STEPS is empty: every order would be completed, whatever is wrong with it."
        return [Error(text, hint=_STEPS_HINT, id="processing.E001")]
    try:
        load_steps(tuple(steps))
    except ImproperlyConfigured as error:
        return [Error(f"{error}.", hint=_STEPS_HINT, id="processing.E001")]
    return []


@register("settings")
def check_limits(**kwargs: Any) -> list[CheckMessage]:
    """The numbers that the shipped steps use are in a range that makes sense."""
    errors: list[CheckMessage] = []
    limit: Any = settings.PROCESSING_MAX_ORDER_TOTAL
    if not isinstance(limit, Decimal) or not limit.is_finite() or not 0 <= limit < 10 ** (MONEY_DIGITS - MONEY_PLACES):
        errors.append(
            Error(
                f"PROCESSING_MAX_ORDER_TOTAL is {limit}, which is no amount of money.",
                hint=f"A number from 0 up, with at most {MONEY_DIGITS - MONEY_PLACES} digits before the point.",
                id="processing.E002",
            )
        )
    if settings.SIMULATED_LATENCY_MS < 0:
        errors.append(
            Error(
                f"SIMULATED_LATENCY_MS is {settings.SIMULATED_LATENCY_MS}.",
                hint="Milliseconds from 0 up; 0 simulates none.",
                id="processing.E003",
            )
        )
    if not 0 <= settings.SIMULATED_FAILURE_RATE <= 1:
        errors.append(
            Error(
                f"SIMULATED_FAILURE_RATE is {settings.SIMULATED_FAILURE_RATE}.",
                hint="A number from 0 (never) to 1 (always).",
                id="processing.E004",
            )
        )
    return errors


@register("settings")
def check_orders_admin_url(**kwargs: Any) -> list[CheckMessage]:
    """The link from a record to its order leads somewhere."""
    return check_admin_url("ORDERS_ADMIN_URL", id="processing.E005")
