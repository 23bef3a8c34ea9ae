"""Clients that wait until an order is final: for how long, and what they are sent meanwhile."""

import re
from collections.abc import Collection, Hashable
from typing import NamedTuple

import orjson
from django.conf import settings
from django.db import connection
from rest_framework.request import Request

from httpapi.problems import Problem, error, invalid
from orders.serializers import as_json
from orders.services import OrderState

STREAM = "text/event-stream"
RETRY_AFTER = 5
"""Seconds after which a client may try again when too many wait."""

_SECONDS = re.compile(r"[0-9]{1,9}")
# EventSource connects again by itself, after this many milliseconds.
_RETRY = b"retry: 1000\n"


class Wish(NamedTuple):
    """How long a client wants to wait."""

    seconds: int = 0
    preferred: bool = False
    """Whether it was asked for in `Prefer`: the answer then has a `Preference-Applied`."""


def which_are_final(ids: Collection[Hashable]) -> set[Hashable]:
    """Those of the orders that are no longer pending. One query, by the primary key."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM orders_order WHERE id = ANY(%s) AND status <> 'pending'", [list(ids)])
        return {order_id for (order_id,) in cursor.fetchall()}


def wish_of(request: Request) -> Wish:
    """What `?wait`, or else `Prefer: wait`, asks for. A preference above the maximum counts as the maximum.

    Raises Problem 422 for a `?wait` that is no whole number or too large. A `Prefer` that cannot be read is ignored.
    """
    most: int = settings.WAITING_MAX_SECONDS
    given = request.query_params.get("wait")
    if given is not None:
        if not _SECONDS.fullmatch(given) or int(given) > most:
            raise invalid([error("?wait", whole_seconds())])
        return Wish(int(given))
    prefer = request.META.get("HTTP_PREFER")
    seconds = _preferred(prefer) if prefer else None
    return Wish() if seconds is None else Wish(min(seconds, most), preferred=True)


def whole_seconds() -> str:
    """What a `?wait` must be."""
    return f"It must be a whole number of seconds, 0 to {settings.WAITING_MAX_SECONDS}."


def _preferred(prefer: str) -> int | None:
    """The seconds of the first `wait` among the preferences; None when there is none or it is no number."""
    for preference in prefer.split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            value = value.strip()
            if value[:1] == value[-1:] == '"':
                value = value[1:-1]
            return int(value) if _SECONDS.fullmatch(value) else None
    return None


def no_place() -> Problem:
    """503: as many clients wait as this worker takes."""
    return Problem(
        503,
        "Too many clients wait already. Ask again without waiting, or later.",
        headers={"Retry-After": str(RETRY_AFTER)},
    )


def status_event(order: OrderState) -> bytes:
    """The event `status`. Its id is the status: as that changes only once, it says all that the client has seen."""
    data = orjson.dumps(as_json(order, order.items))
    return b"id: %b\nevent: status\ndata: %b\n\n" % (order.status.encode(), data)


def beginning(order: OrderState, *, seen: str | None) -> bytes:
    """What a stream begins with: the order as it is, unless the client has already seen it like that."""
    return _RETRY + (b"\n" if seen == order.status else status_event(order))
