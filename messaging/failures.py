"""Failure groups: failures of one kind, what is counted of them, and what people decide about them.

A failure's kind is the type of its error, the place of our code that raised it, and the type of the message. None of
these changes with the message or with a release that leaves the place alone.
"""

import sysconfig
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePath
from types import CodeType, TracebackType
from typing import Any

from django.db import connection, transaction
from django.db.models import Count
from django.db.models.functions import Now
from django.utils import timezone

from messaging import actions
from messaging.conf import config
from messaging.models import DeadLetter, FailureGroup, FailureHour, OperatorAction
from messaging.storable import storable_text
from messaging.subject import subject_of

_FINGERPRINTS = uuid.UUID("3c0b9a1e-5c43-5d0f-9b37-7c1c5f2a9e64")
_PACKAGES = {"site-packages", "dist-packages"}
_STANDARD_LIBRARY = tuple(
    f"{PurePath(path)}/" for path in {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")} if path
)
_LONGEST_SAMPLE = 4_000


def place_of(error: BaseException) -> str:
    """`module.function` of our code, or the team's, that raised it; "" when there is none in its traceback.

    The innermost frame that belongs neither to the standard library nor to an installed package: not where the
    database driver gave up, but where it was asked. Without line numbers, so that a release does not change it.
    An error that was raised because of another (`raise … from …`) has its own place, not the other's.
    """
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if place := _innermost_of_ours(current.__traceback__):
            return place
        current = current.__cause__
    return ""


def _innermost_of_ours(trace: TracebackType | None) -> str:
    place = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if _is_ours(code):
            module = str(trace.tb_frame.f_globals.get("__name__", ""))
            place = f"{module}.{code.co_qualname.replace('.<locals>', '')}"
        trace = trace.tb_next
    return storable_text(place, 255)


def _is_ours(code: CodeType) -> bool:
    file = code.co_filename
    # <frozen importlib>, <string>, and what dataclasses and the like have written themselves.
    return not file.startswith(("<", *_STANDARD_LIBRARY)) and _PACKAGES.isdisjoint(PurePath(file).parts)


def fingerprint_of(error_type: str, place: str, type: str) -> uuid.UUID:
    """That of the failure group. Types that this service does not take count as one: anybody can send new ones."""
    parts = (storable_text(error_type, 255), storable_text(place, 255), known_type(type))
    return uuid.uuid5(_FINGERPRINTS, "\0".join(parts))


def known_type(type: str) -> str:
    """The type, if this service takes it, else "unknown". No type at all is the only one, where there is only one."""
    handlers = config().handler_table
    if type in handlers:
        return type
    return next(iter(handlers)) if not type and len(handlers) == 1 else "unknown"


def subject_among_ours(body: bytes, type: str) -> str:
    """The business key of a message that this service takes or sends; "" when nobody has said where it stands.

    What it takes says so in its handlers. For other types, which it sends, it is taken to stand where it always does.
    """
    handlers = config().handler_table
    if handler := handlers.get(type):
        return subject_of(body, handler.subject)
    fields = {handler.subject for handler in handlers.values()}
    return subject_of(body, fields.pop()) if len(fields) == 1 else ""


# --- What the consumers count


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


class Tally:
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
        """Of the group of failures that were entered. Raises KeyError for others."""
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


# --- What people decide


class GroupChangedError(Exception):
    """Somebody else was faster. The text says who did what."""


def take(*, group_id: int, by: str, reason: str = "", expected: str | None = None) -> FailureGroup:
    """Says that somebody looks at the failure. Also what another has taken, when that is what is `expected`.

    `expected` is the state that the person has seen; None takes it as it is. Raises GroupChangedError when it has
    another meanwhile, and FailureGroup.DoesNotExist. So do the others. Each is one transaction: a crash before its
    commit changes nothing.
    """
    return _change(group_id=group_id, by=by, reason=reason, expected=expected, action="take", state="taken", owner=by)


def resolve(*, group_id: int, by: str, reason: str = "", expected: str | None = None) -> FailureGroup:
    """Says that the failure is mended. It opens again by itself when it happens once more after this.

    Its dead letters stay as they are: whoever wants them to take effect replays them.
    """
    return _change(group_id=group_id, by=by, reason=reason, expected=expected, action="resolve", state="resolved")


def reopen(*, group_id: int, by: str, reason: str = "", expected: str | None = None) -> FailureGroup:
    """Says that nobody looks at the failure, or that it is not mended after all."""
    return _change(group_id=group_id, by=by, reason=reason, expected=expected, action="reopen", state="open", owner="")


def note(*, group_id: int, by: str, text: str, expected: str | None = None) -> FailureGroup:
    """Replaces the note. `expected` is the note that the person has seen. Raises as `take` does."""
    with transaction.atomic():
        group = FailureGroup.objects.select_for_update(no_key=True).get(pk=group_id)
        if expected is not None and _lines(group.note) != _lines(expected):
            raise GroupChangedError(f"{_who_did(group, 'note')}. Your note was not kept.")
        before, group.note = group.note, storable_text(text)
        if group.note != before:
            group.save(update_fields=["note"])
            actions.record(action="note", by=by, reason=group.note, group=group, detail={"before": before})
    return group


def seen_state(group: FailureGroup) -> str:
    """What a person who looks at the group has seen of its state: `expected` of the functions here."""
    return f"{group.state}:{group.owner}"


def _change(
    *, group_id: int, by: str, reason: str, expected: str | None, action: str, state: str, owner: str | None = None
) -> FailureGroup:
    with transaction.atomic():
        # The lock decides who was first, against other people and against the consumers that open groups again.
        group = FailureGroup.objects.select_for_update(no_key=True).get(pk=group_id)
        if expected is not None and seen_state(group) != expected:
            raise GroupChangedError(f"{_who_did(group)}. Nothing was changed.")
        before = seen_state(group)
        group.state = FailureGroup.State(state)
        group.owner = storable_text(group.owner if owner is None else owner, 255)
        if seen_state(group) == before:
            return group
        FailureGroup.objects.filter(pk=group.pk).update(
            state=group.state, owner=group.owner, changed_at=Now(), changed_by=storable_text(by, 255)
        )
        actions.record(action=action, by=by, reason=reason, group=group)
        group.refresh_from_db()
    return group


_DID = {
    "take": "{} has begun to look at it",
    "resolve": "{} has resolved it",
    "reopen": "{} has opened it again",
    "note": "{} has changed the note",
}


def _who_did(group: FailureGroup, *only: str) -> str:
    done = OperatorAction.objects.filter(group_id=group.pk, action__in=only or ["take", "resolve", "reopen"])
    last = done.order_by("-at", "-id").first()
    if last is None:
        return "Somebody else has changed it meanwhile"
    if last.by == actions.SYSTEM:
        return "It has opened again by itself: the failure came back"
    return f"{_DID[last.action].format(last.by)}, at {timezone.localtime(last.at):%H:%M:%S}"


def _lines(text: str) -> str:
    """A browser sends other line ends than it was given."""
    return text.replace("\r\n", "\n").strip()


# --- What pages and commands show


def waiting(group_ids: Iterable[int]) -> dict[int, int]:
    """How many dead letters of these groups wait now; a group without any is left out."""
    rows = DeadLetter.objects.filter(group__in=list(group_ids), status=DeadLetter.Status.WAITING)
    return dict(rows.values_list("group").annotate(number=Count("pk")).order_by())


def trends(group_ids: Iterable[int], *, hours: int) -> dict[int, list[int]]:
    """For each of these groups how often it happened in each of the last hours, the current one last."""
    ids = list(group_ids)
    this_hour = timezone.now().astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    first = this_hour - timedelta(hours=hours - 1)
    found: dict[int, list[int]] = {id_: [0] * hours for id_ in ids}
    rows = FailureHour.objects.filter(group__in=ids, hour__gte=first, hour__lte=this_hour)
    for id_, hour, occurrences in rows.values_list("group", "hour", "occurrences"):
        found[id_][round((hour - first) / timedelta(hours=1))] = occurrences
    return found


def newest_letters(group: FailureGroup, *, limit: int) -> list[DeadLetter]:
    """The newest of its dead letters that wait, or else of those that are settled; without bodies and headers.

    Takes one look into an index for each status, however many there are.
    """
    rows: list[DeadLetter] = []
    for status in DeadLetter.Status:
        found = DeadLetter.objects.filter(group=group, status=status).defer("body", "headers")
        rows = list(found.order_by("-last_failed_at")[:limit])
        if rows:
            break
    return rows
