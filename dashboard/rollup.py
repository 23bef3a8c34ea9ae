"""Orders per minute without counting them all each time: slots of ten seconds are counted when somebody looks.

Each look counts a little, within a budget of time: what is new, then what may have changed. So orders themselves get no
extra work, and after days without a look the last hour is complete again after a few refreshes. Several may count at
once; the slots say the same whoever counts last.

docs/performance.md says what that costs.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from dashboard.histogram import BUCKET_SQL, Histogram
from dashboard.models import PipelineSlot
from dashboard.pipeline import Pipeline

SLOT = timedelta(seconds=10)
MINUTES = 60
BUDGET = 0.02
"""Seconds that one look may spend on counting, in addition to the slots under way."""
TIMEOUT_MS = 1000
"""Milliseconds that the database may take for one question."""

_FRESH = timedelta(seconds=2)  # what was counted this recently is not counted again
_FIRST_CHUNK = 2
_MOST_CHUNKS = 8
_SETTLED = timedelta(minutes=10)  # no row is committed later than this after its own time
_KEPT = timedelta(days=1)
_LOCK = 7_305_514_261  # any number that nothing else in this database locks
_ORIGIN = "timestamptz '2000-01-01 00:00:00+00'"


@dataclass(slots=True)
class Minute:
    """The rows that began within a minute."""

    start: datetime
    counts: Counter[str] = field(default_factory=Counter)
    took: Histogram = field(default_factory=Counter)
    waited: Histogram = field(default_factory=Counter)
    is_counted: bool = True
    """Whether all of it has been counted at least once."""

    @property
    def total(self) -> int:
        return self.counts.total()


@dataclass(frozen=True, slots=True)
class Hour:
    """The last `MINUTES` minutes, the one under way included."""

    minutes: list[Minute]
    oldest_count_at: datetime | None
    """Of the slots that have rows without a final status, when the stalest was counted."""

    @property
    def is_counted(self) -> bool:
        return all(minute.is_counted for minute in self.minutes)


@dataclass(frozen=True, slots=True)
class _Known:
    is_open: bool
    computed_at: datetime


@contextmanager
def question() -> Iterator[Any]:
    """A cursor in a transaction in which no statement may take longer than `TIMEOUT_MS`."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(TIMEOUT_MS)])
        yield cursor


def refresh(pipeline: Pipeline, *, now: datetime | None = None) -> bool:
    """Counts what is most worth counting, within the budget; at least some of what is missing.

    Returns whether something is left to count. While others are counting it leaves the work to them and returns False.
    A crash loses at most what was not counted yet.
    """
    now = now or timezone.now()
    window = _window(now)
    with question():
        # Leaves out counts dated in the future by a clock that was ahead: until then they would seem fresh.
        counted = PipelineSlot.objects.filter(start__gte=window[0], computed_at__lt=now + _FRESH)
        slots = counted.values_list("start", "is_open", "computed_at")
        known = {start: _Known(is_open, computed_at) for start, is_open, computed_at in slots}
    under_way, rest = _due(window, known, now)
    if under_way and _count(pipeline, under_way, now) is None:
        return False
    size, left, chunks = _FIRST_CHUNK, BUDGET, 0
    while rest and left > 0 and chunks < _MOST_CHUNKS:
        chunks += 1
        chunk, rest = _first_run(rest, size)
        spent = _count(pipeline, chunk, now)
        if spent is None:
            return False
        left -= spent
        # Doubles while that fits the budget: an idle hour takes few statements, and a busy one never takes too long.
        size = max(1, min(2 * size, int(left / (spent / len(chunk)))))
    with question():
        PipelineSlot.objects.filter(start__lt=now - _KEPT).delete()
    return bool(rest)


def read(*, now: datetime | None = None) -> Hour:
    """What has been counted, by minute."""
    now = now or timezone.now()
    window = _window(now)
    minutes = {start: Minute(start) for start in (window[0] + timedelta(minutes=number) for number in range(MINUTES))}
    missing = set(window)
    stale: datetime | None = None
    slots = PipelineSlot.objects.filter(start__gte=window[0], start__lte=window[-1]).values_list(
        "start", "counts", "took", "waited", "is_open", "computed_at"
    )
    for start, counts, took, waited, is_open, computed_at in slots:
        missing.discard(start)
        minute = minutes[start.replace(second=0, microsecond=0)]
        minute.counts.update(counts)
        minute.took.update({int(bucket): number for bucket, number in took.items()})
        minute.waited.update({int(bucket): number for bucket, number in waited.items()})
        if is_open and (stale is None or computed_at < stale):
            stale = computed_at
    for start in missing:
        minutes[start.replace(second=0, microsecond=0)].is_counted = False
    return Hour(list(minutes.values()), stale)


def _window(now: datetime) -> list[datetime]:
    """The starts of the slots of the last minutes, up to the one under way."""
    first = now.replace(second=0, microsecond=0) - timedelta(minutes=MINUTES - 1)
    return [first + SLOT * number for number in range((now - first) // SLOT + 1)]


def _due(
    window: Sequence[datetime], known: dict[datetime, _Known], now: datetime
) -> tuple[list[datetime], list[datetime]]:
    """The slots under way, in order, and the other slots to be counted, the most wanted first."""
    under_way, missing, stale = [], [], []
    for start in reversed(window):
        age, slot = now - (start + SLOT), known.get(start)
        if slot is not None and (now - slot.computed_at < _FRESH or _is_settled(start, slot, age)):
            continue
        if age < SLOT:
            under_way.append(start)
        elif slot is None:
            missing.append(start)
        else:
            stale.append((slot.computed_at, start))
    return under_way[::-1], missing + [start for _, start in sorted(stale)]


def _is_settled(start: datetime, slot: _Known, age: timedelta) -> bool:
    """Whether nothing in the slot can have changed, or not enough time has passed to count it again.

    A slot with rows that are not final is counted again after a sixtieth of its age. Any other is counted again after
    10, 20, 40 … seconds, for rows that came late: a row gets its time before it is committed.
    """
    age_when_counted = slot.computed_at - (start + SLOT)
    if slot.is_open:
        return age - age_when_counted < age / 60
    return age_when_counted >= _SETTLED or (age >= SLOT and age < max(2 * age_when_counted, SLOT))


def _first_run(slots: Sequence[datetime], size: int) -> tuple[list[datetime], list[datetime]]:
    """The first slots, as long as each is next to the one before, in either direction of time; and the rest."""
    end = 1
    while end < min(size, len(slots)) and abs(slots[end] - slots[end - 1]) == SLOT:
        end += 1
    return sorted(slots[:end]), list(slots[end:])


def _count(pipeline: Pipeline, slots: Sequence[datetime], now: datetime) -> float | None:
    """Counts these slots, which follow each other. Returns how many seconds the queries took.

    Does nothing and returns None when somebody else is counting.
    """
    counts: dict[datetime, Counter[str]] = defaultdict(Counter)
    took: dict[datetime, Histogram] = defaultdict(Counter)
    waited: dict[datetime, Histogram] = defaultdict(Counter)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('statement_timeout', %s, true), pg_try_advisory_xact_lock(%s)",
            [str(TIMEOUT_MS), _LOCK],
        )
        if not cursor.fetchone()[1]:
            return None
        span = {"start": slots[0], "end": slots[-1] + SLOT}
        began = time.perf_counter()
        for slot, status, bucket, number in _grouped(cursor, pipeline.rows, span, "status"):
            counts[slot][status] += number
            if bucket is not None:
                took[slot][bucket] += number
        if pipeline.waits:
            for slot, _, bucket, number in _grouped(cursor, pipeline.waits, span, "''"):
                if bucket is not None:
                    waited[slot][bucket] += number
        spent = time.perf_counter() - began
        PipelineSlot.objects.bulk_create(
            (
                PipelineSlot(
                    start=start,
                    counts=counts[start],
                    took=took[start],
                    waited=waited[start],
                    is_open=bool(pipeline.not_final & counts[start].keys()),
                    computed_at=now,
                )
                for start in slots
            ),
            update_conflicts=True,
            unique_fields=["start"],
            update_fields=["counts", "took", "waited", "is_open", "computed_at"],
        )
    return spent


def _grouped(cursor: Any, query: str, span: dict[str, datetime], status: str) -> Iterator[tuple[Any, ...]]:
    cursor.execute(
        f"""SELECT date_bin('{SLOT.seconds} seconds', at, {_ORIGIN}), {status}, {BUCKET_SQL}, count(*)
            FROM ({query}) AS rows GROUP BY 1, 2, 3""",
        span,
    )
    rows: Iterable[tuple[Any, ...]] = cursor.fetchall()
    return iter(rows)
