"""All that the overview knows at one moment, as plain values. The page, the command and the verdict read it.

Every question is answered by an index or stops at a limit, so that it costs the same with a million rows. A question
that the database does not answer in time is reported as unanswered, and does not hold up the others.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from django.db import Error, connection
from django.utils import timezone

from dashboard import broker, rollup
from dashboard.broker import Depths
from dashboard.histogram import percentile
from dashboard.pipeline import Pipeline
from database.errors import statement_took_too_long
from messaging import health
from messaging.failure_groups import type_in_words
from messaging.models import DeadLetter, Replay, ReplayedMessage
from messaging.topology_diff import Difference
from observability.errors import in_one_line

logger = logging.getLogger(__name__)

CAP = 10_000
"""Nothing is counted beyond this; more is shown as `10,000+`."""
GROUP_CAP = 1_000
"""The same within one failure group."""

_GROUPS_SHOWN = 5
_GROUPS_LOOKED_AT = 30
_LONG_AGO = 60.0

# The counts stop at the cap: an outbox that nobody empties may hold millions.
_MESSAGING = """
    SELECT (SELECT count(*) FROM (SELECT FROM messaging_outboxmessage LIMIT %(cap)s) AS waiting),
           (SELECT extract(epoch FROM now() - created_at)::float8
            FROM messaging_outboxmessage ORDER BY id LIMIT 1),
           (SELECT count(*) FROM (
               SELECT FROM messaging_deadletter WHERE status = %(waiting)s LIMIT %(cap)s) AS waiting)"""
# No EXISTS: the planner would join all letters that wait, which takes minutes when its statistics are old.
_GROUPS = """
    SELECT seen.id, seen.error_type, seen.place, seen.type, seen.state, seen.owner, letters.waiting,
           (SELECT type FROM messaging_deadletter WHERE group_id = seen.id AND status = %(waiting)s
            ORDER BY last_failed_at DESC LIMIT 1)
    FROM (SELECT * FROM messaging_failuregroup AS one
          WHERE (SELECT true FROM messaging_deadletter WHERE group_id = one.id AND status = %(waiting)s LIMIT 1)
          ORDER BY last_seen_at DESC LIMIT %(looked_at)s) AS seen
    CROSS JOIN LATERAL (
        SELECT count(*) AS waiting FROM (
            SELECT FROM messaging_deadletter
            WHERE group_id = seen.id AND status = %(waiting)s LIMIT %(cap)s) AS waiting) AS letters
    ORDER BY letters.waiting DESC, seen.last_seen_at DESC LIMIT %(shown)s"""
# Messages are sent by position, so the position of the first that waits is how many were sent.
_REPLAYS = """
    SELECT replay.id, replay.state, replay.state_reason, replay.total, replay.created_by,
           coalesce((SELECT position FROM messaging_replayedmessage
                     WHERE replay_id = replay.id AND outcome = %(waiting)s ORDER BY position LIMIT 1), replay.total),
           (SELECT count(*) FROM (SELECT FROM messaging_replayedmessage
                                  WHERE replay_id = replay.id AND outcome = %(failed)s LIMIT %(cap)s) AS failed)
    FROM messaging_replay AS replay WHERE replay.state = ANY (%(states)s) ORDER BY replay.id DESC LIMIT 5"""


@dataclass(frozen=True, slots=True)
class Group:
    """A failure group, which may be a resolved one, and how many of its dead letters wait."""

    id: int
    error_type: str
    place: str
    type: str
    """The type by which the group is counted; may be empty."""
    state: str
    owner: str
    waiting: int
    newest_type: str
    """The type of its newest message; may be empty."""

    @property
    def shown_type(self) -> str:
        return type_in_words(self.newest_type)


@dataclass(frozen=True, slots=True)
class RunningReplay:
    """A replay that is not done yet."""

    id: int
    state: str
    reason: str
    total: int
    by: str
    sent: int
    failed: int


@dataclass(slots=True)
class Snapshot:
    """A value is None if nobody has asked, or if the database has not answered; `unanswered` then says why."""

    at: datetime
    pipeline: Pipeline | None
    hour: rollup.Hour | None = None
    is_empty: bool = False
    """Whether the pipeline has no row at all."""
    open_count: int | None = None
    oldest_open: tuple[Any, float] | None = None
    """Its id and its age in seconds."""
    outbox_count: int | None = None
    outbox_age: float | None = None
    """The age of the oldest message in seconds; None when there is none."""
    dead_letters: int | None = None
    groups: list[Group] = field(default_factory=list)
    replays: list[RunningReplay] = field(default_factory=list)
    processes: dict[str, list[dict[str, Any]]] | None = None
    """The processes that are alive, by role, as messaging.health tells them."""
    broker: Depths = field(default_factory=Depths)
    dangers: tuple[Difference, ...] = ()
    """Settings on the broker that make this service lose messages."""
    unanswered: dict[str, str] = field(default_factory=dict)
    """What could not be asked, and why."""

    @property
    def stale(self) -> float | None:
        """Seconds since the stalest rows that are not final were counted, if that is long ago; else None."""
        if self.hour is None or self.hour.oldest_count_at is None:
            return None
        seconds = (self.at - self.hour.oldest_count_at).total_seconds()
        return seconds if seconds > _LONG_AGO else None

    @property
    def retrying(self) -> int:
        """Messages on the rungs of the retry ladder."""
        return sum(queue.messages or 0 for queue in self.broker.queues[1:-1])

    @property
    def counts(self) -> Counter[str]:
        """How many rows the last hour has, by status."""
        return sum((minute.counts for minute in self.hour.minutes), Counter()) if self.hour else Counter()

    def took(self, share: float, *, minutes: int = rollup.MINUTES) -> float | None:
        """Milliseconds within which this share of the rows of the last minutes ended."""
        if self.hour is None:
            return None
        return percentile(sum((minute.took for minute in self.hour.minutes[-minutes:]), Counter()), share)

    def waited(self, share: float, *, minutes: int = rollup.MINUTES) -> float | None:
        """The same for the second kind of time that the pipeline knows."""
        if self.hour is None:
            return None
        return percentile(sum((minute.waited for minute in self.hour.minutes[-minutes:]), Counter()), share)


def take(pipeline: Pipeline | None, *, now: datetime | None = None, patience: float = 0.0) -> Snapshot:
    """Asks everything. Waits about a second for a broker that is away. What fails in a part is said there, not raised.

    Counts a little of what is not counted yet or, if it takes at most `patience` seconds, all of it.
    """
    snapshot = Snapshot(at=now or timezone.now(), pipeline=pipeline)
    broker.depths.ask()  # it can answer while the database is asked
    broker.dangers.ask()
    parts: dict[str, Callable[[Snapshot], None]] = {
        "outbox, dead letters and replays": _ask_messaging,
        "relays and consumers": _ask_processes,
    }
    if pipeline is not None:
        minutes = f"{pipeline.many} per minute"
        parts = {
            f"counting {minutes}": partial(_count, patience=patience),
            minutes: _ask_hour,
            pipeline.many: _ask_pipeline,
            **parts,
        }
    for what, ask in parts.items():
        try:
            ask(snapshot)
        except Error as error:
            snapshot.unanswered[what] = _reason(error)
            logger.warning("overview: a question was not answered", extra={"what": what, "error": str(error)})
            if not connection.is_usable():
                break  # every further question would wait just as long
    snapshot.broker = broker.depths.answer()
    if not snapshot.broker.error:  # else a page would wait a second time for the same broker
        snapshot.dangers = broker.dangers.answer()
    return snapshot


def _count(snapshot: Snapshot, *, patience: float) -> None:
    assert snapshot.pipeline is not None
    end = time.monotonic() + patience
    while rollup.refresh(snapshot.pipeline, now=snapshot.at) and time.monotonic() < end:
        pass


def _ask_hour(snapshot: Snapshot) -> None:
    with rollup.question():
        snapshot.hour = rollup.read(now=snapshot.at)


def _ask_pipeline(snapshot: Snapshot) -> None:
    pipeline = snapshot.pipeline
    assert pipeline is not None
    with rollup.question() as cursor:
        cursor.execute(pipeline.exists)
        snapshot.is_empty = not cursor.fetchone()[0]
        if pipeline.count_open:
            cursor.execute(pipeline.count_open, {"cap": CAP + 1})
            (snapshot.open_count,) = cursor.fetchone()
        if pipeline.oldest_open:
            cursor.execute(pipeline.oldest_open)
            if row := cursor.fetchone():
                snapshot.oldest_open = (row[0], max(0.0, (snapshot.at - row[1]).total_seconds()))


def _ask_messaging(snapshot: Snapshot) -> None:
    with rollup.question() as cursor:
        cursor.execute(_MESSAGING, {"cap": CAP + 1, "waiting": DeadLetter.Status.WAITING})
        snapshot.outbox_count, snapshot.outbox_age, snapshot.dead_letters = cursor.fetchone()
        if snapshot.dead_letters:
            cursor.execute(
                _GROUPS,
                {
                    "looked_at": _GROUPS_LOOKED_AT,
                    "waiting": DeadLetter.Status.WAITING,
                    "cap": GROUP_CAP + 1,
                    "shown": _GROUPS_SHOWN,
                },
            )
            snapshot.groups = [Group(*row) for row in cursor.fetchall()]
        cursor.execute(
            _REPLAYS,
            {
                "states": [Replay.State.RUNNING, Replay.State.PAUSED, Replay.State.STOPPED],
                "waiting": ReplayedMessage.Outcome.WAITING,
                "failed": ReplayedMessage.Outcome.FAILED,
                "cap": CAP + 1,
            },
        )
        snapshot.replays = [RunningReplay(*row) for row in cursor.fetchall()]


def _ask_processes(snapshot: Snapshot) -> None:
    with rollup.question():
        snapshot.processes = {"relay": health.relay()["processes"], "consume": health.consume()["processes"]}


def _reason(error: Error) -> str:
    if statement_took_too_long(error):
        return f"the database did not answer within {rollup.TIMEOUT_MS / 1000:g} s"
    return in_one_line(error)
