"""Counting failures that were given up, in their failure groups."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import connection

from messaging import actions
from messaging.fingerprints import fingerprint_of, known_type
from messaging.models import FailureGroup
from messaging.storable import storable_text

_LONGEST_SAMPLE = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """One failure that was given up."""

    error_type: str
    place: str
    type: str
    error_message: str
    release: str
    failed_at: datetime

    @property
    def fingerprint(self) -> uuid.UUID:
        return fingerprint_of(self.error_type, self.place, self.type)


# Ordered, so that two consumers wait for each other instead of deadlocking. The update changes nothing; it locks the
# group until the transaction ends, so that nobody counts the same failure at the same time.
_ENTER = """
    INSERT INTO messaging_failuregroup AS kept (
        fingerprint, error_type, place, type, sample, occurrences, first_seen_at, last_seen_at, first_release,
        last_release, state, owner, note, changed_by
    )
    SELECT fingerprint, error_type, place, type, '', 0, seen_at, seen_at, release, release, 'open', '', '', ''
    FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::timestamptz[], %s::text[])
        AS new (fingerprint, error_type, place, type, seen_at, release)
    ORDER BY fingerprint
    ON CONFLICT (fingerprint) DO UPDATE SET occurrences = kept.occurrences
    RETURNING id, fingerprint, state, changed_at, occurrences"""

_COUNT = """
    WITH counted AS (
        SELECT * FROM unnest(
            %(ids)s::bigint[], %(numbers)s::bigint[], %(first)s::timestamptz[], %(last)s::timestamptz[],
            %(samples)s::text[], %(releases)s::text[], %(reopened)s::boolean[]
        ) AS c (id, number, first_seen_at, last_seen_at, sample, release, reopened)
    ), hours AS (
        INSERT INTO messaging_failurehour AS kept (group_id, hour, occurrences)
        SELECT * FROM unnest(%(hour_ids)s::bigint[], %(hours)s::timestamptz[], %(hour_numbers)s::int[])
        ON CONFLICT (group_id, hour) DO UPDATE SET occurrences = kept.occurrences + excluded.occurrences
    )
    UPDATE messaging_failuregroup AS kept SET
        occurrences = kept.occurrences + number,
        first_seen_at = least(kept.first_seen_at, counted.first_seen_at),
        last_seen_at = greatest(kept.last_seen_at, counted.last_seen_at),
        sample = CASE WHEN kept.occurrences = 0 OR counted.last_seen_at >= kept.last_seen_at
            THEN counted.sample ELSE kept.sample END,
        last_release = CASE WHEN release <> '' AND counted.last_seen_at >= kept.last_seen_at
            THEN release ELSE kept.last_release END,
        state = CASE WHEN reopened THEN 'open' ELSE kept.state END,
        owner = CASE WHEN reopened THEN '' ELSE kept.owner END,
        changed_at = CASE WHEN reopened THEN now() ELSE kept.changed_at END,
        changed_by = CASE WHEN reopened THEN %(system)s ELSE kept.changed_by END
    FROM counted WHERE kept.id = counted.id"""


class FailureCounter:
    """Counts the failures of one transaction: enter them all first, then count those that turn out to be new.

    Whoever counts holds the groups locked until the end of the transaction. Until `close` nothing is counted, and a
    crash before the commit undoes all of it, the new groups too.
    """

    def __init__(self, occurrences: Sequence[Occurrence]) -> None:
        """Makes sure that the groups of these exist. Raises RuntimeError outside a transaction."""
        if not connection.in_atomic_block:
            raise RuntimeError("failures are counted in the transaction that keeps them")
        self._now = datetime.now(UTC)
        firsts: dict[uuid.UUID, Occurrence] = {}
        for one in sorted(occurrences, key=lambda one: one.failed_at):
            firsts.setdefault(one.fingerprint, one)
        self._rows: dict[uuid.UUID, tuple[int, str, datetime | None, int]] = {}
        self._counted: dict[uuid.UUID, list[Occurrence]] = {}
        columns: list[list[Any]] = [
            list(firsts),
            [storable_text(one.error_type, 255) for one in firsts.values()],
            [storable_text(one.place, 255) for one in firsts.values()],
            [known_type(one.type) for one in firsts.values()],
            [self._seen_at(one) for one in firsts.values()],
            [storable_text(one.release, 64) for one in firsts.values()],
        ]
        with connection.cursor() as cursor:
            cursor.execute(_ENTER, columns)
            for id_, fingerprint, *row in cursor.fetchall():
                self._rows[fingerprint] = (id_, *row)

    def group_id(self, fingerprint: uuid.UUID) -> int:
        """The id of the group, for failures that were entered. Raises KeyError for others."""
        return self._rows[fingerprint][0]

    def count(self, occurrence: Occurrence) -> None:
        """Notes one that was entered and that nobody has counted yet; `close` writes it."""
        self._counted.setdefault(occurrence.fingerprint, []).append(occurrence)

    def close(self) -> None:
        """Writes what was counted: the last thing to do, once. A commit without it leaves empty groups.

        A resolved group opens again, unless the failure is older than the resolution.
        """
        if self._counted:
            self._write()
        if unused := [
            id_
            for fingerprint, (id_, _, _, occurrences) in self._rows.items()
            if not occurrences and fingerprint not in self._counted
        ]:
            # Made for failures that were known already under another kind.
            FailureGroup.objects.filter(pk__in=unused, occurrences=0, dead_letters=None).delete()

    def _write(self) -> None:
        columns: dict[str, list[Any]] = {
            name: [] for name in ("ids", "numbers", "first", "last", "samples", "releases", "reopened")
        }
        hours: dict[tuple[int, datetime], int] = {}
        reopened: list[tuple[int, Occurrence]] = []
        for fingerprint, occurrences in self._counted.items():
            id_, state, changed_at, _ = self._rows[fingerprint]
            newest = max(occurrences, key=lambda one: one.failed_at)
            is_back = state == FailureGroup.State.RESOLVED and (changed_at is None or newest.failed_at > changed_at)
            if is_back:
                reopened.append((id_, newest))
            row = (
                id_,
                len(occurrences),
                min(map(self._seen_at, occurrences)),
                self._seen_at(newest),
                storable_text(newest.error_message, _LONGEST_SAMPLE),
                storable_text(newest.release, 64),
                is_back,
            )
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
            for one in occurrences:
                hour = self._seen_at(one).replace(minute=0, second=0, microsecond=0)
                hours[id_, hour] = hours.get((id_, hour), 0) + 1
        parameters: dict[str, Any] = {
            **columns,
            "hour_ids": [id_ for id_, _ in hours],
            "hours": [hour for _, hour in hours],
            "hour_numbers": list(hours.values()),
            "system": actions.SYSTEM,
        }
        with connection.cursor() as cursor:
            cursor.execute(_COUNT, parameters)
        for id_, newest in reopened:
            actions.record(
                action="reopen",
                by=actions.SYSTEM,
                reason="The failure came back.",
                group=FailureGroup(pk=id_),
                detail={"release": storable_text(newest.release, 64)} if newest.release else {},
            )

    def _seen_at(self, occurrence: Occurrence) -> datetime:
        """Not in the future: a clock that is ahead would keep the group on top of the list, and its hours for ever."""
        return min(occurrence.failed_at.astimezone(UTC), self._now)
