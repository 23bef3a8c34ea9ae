"""Back-pressure: what to tell those who bring work while the outbox cannot be emptied, as when the broker is away."""

import logging
import math
import time
from dataclasses import dataclass

from django.db import connection
from django.db.models import Sum

from messaging.conf import config
from messaging.models import OutboxMessage, Process

logger = logging.getLogger(__name__)

MODES = ("off", "warn", "refuse")

_LOOK_INTERVAL = 1.0  # seconds; in between, a process goes by what it saw last
_LONGEST = 300  # seconds; nobody knows how long a broker stays away
_UNKNOWN_RATE = 60  # seconds, while no relay has said how fast it is

# A message that the broker refused is due again later, so one that nobody takes is no pressure.
_OVERDUE = """
    SELECT extract(epoch FROM now() - available_at)::float
    FROM messaging_outboxmessage WHERE available_at <= now() ORDER BY available_at, id LIMIT 1"""


@dataclass(frozen=True, slots=True)
class Pressure:
    """The outbox is older than `outbox_max_age`."""

    overdue: float
    """For how many seconds the oldest message has been due."""
    waiting: int
    """How many messages wait."""
    retry_after: int
    """Whole seconds in which the relays, at the rate they last had, would have published them all; 1 to 300.

    60 while no rate is known.
    """


_pressure: Pressure | None = None
_looked_at = -math.inf


def current() -> Pressure | None:
    """The pressure, as of a second ago at most; None while there is none, or nobody wants to know (mode "off").

    Logs when it begins and when it ends. Raises what the database raises when it is away.
    """
    global _pressure, _looked_at
    if config().backpressure == "off":
        return None
    now = time.monotonic()
    if now - _looked_at >= _LOOK_INTERVAL:
        _looked_at = now
        before, _pressure = _pressure, _measure()
        if _pressure and not before:
            extra = {"overdue_seconds": round(_pressure.overdue), "waiting": _pressure.waiting}
            logger.warning("back-pressure: the outbox is not being emptied", extra=extra)
        elif before and not _pressure:
            logger.info("no more back-pressure: the outbox is being emptied")
    return _pressure


def refusing() -> Pressure | None:
    """The pressure, if new work is to be refused because of it."""
    pressure = current()
    return pressure if config().backpressure == "refuse" else None


def is_near() -> bool:
    """Whether what waits now will reach half the age at which new work is refused: who brings much at once waits then.

    Goes by the age so far, and by the rate of the relays where that is known. Asks the database each time, where work
    is to be refused at all.
    """
    if config().backpressure != "refuse":
        return False
    rate = _rate()
    seconds = OutboxMessage.objects.count() / rate if rate else 0.0
    return max(seconds, _overdue()) > config().outbox_max_age / 2


def _measure() -> Pressure | None:
    overdue = _overdue()
    if overdue <= config().outbox_max_age:
        return None
    waiting, rate = OutboxMessage.objects.count(), _rate()
    seconds = math.ceil(waiting / rate) if rate else _UNKNOWN_RATE
    return Pressure(overdue=overdue, waiting=waiting, retry_after=max(1, min(seconds, _LONGEST)))


def _overdue() -> float:
    """For how many seconds the oldest message has been due; -1 when none is."""
    with connection.cursor() as cursor:
        cursor.execute(_OVERDUE)
        row = cursor.fetchone()
    return row[0] if row else -1.0


def _rate() -> float | None:
    """Messages per second of the relays that are alive; else of the one that was alive last, whose row may remain."""
    relays = Process.objects.filter(role="relay", rate__isnull=False)
    together: float | None = relays.alive().aggregate(rate=Sum("rate"))["rate"]
    return together or relays.order_by("-seen_at").values_list("rate", flat=True).first()
