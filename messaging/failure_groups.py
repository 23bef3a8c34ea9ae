"""Failure groups, failures of one kind: what people decide about them, and what pages and commands show.

`messaging.fingerprints` says what is one kind; the consumers count the failures with `messaging.failure_counter`.
"""

from collections.abc import Iterable
from datetime import UTC, timedelta

from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from desk.display import one_line, to_the_second
from messaging import actions
from messaging.conf import config
from messaging.errors import MessagingError
from messaging.models import DeadLetter, FailureGroup, FailureHour, OperatorAction
from messaging.storable import storable_text


class GroupChangedError(MessagingError):
    """Somebody else was faster. The text says who did what."""


def take(*, group_id: int, by: str, reason: str = "", expected: str | None = None) -> FailureGroup:
    """Says that somebody looks at the failure. Takes it from another person too, when that is the `expected` state.

    `expected` is the state that the person has seen; None accepts any. Raises GroupChangedError when the group has
    another state by now, and FailureGroup.DoesNotExist. So do the others here. Each is one transaction: a crash before
    its commit changes nothing.
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
        # The lock decides who was first, among people and against the consumers, which open groups again.
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
    return f"{_DID[last.action].format(last.by)}, on {to_the_second(last.at)}"


def _lines(text: str) -> str:
    """A browser sends other line ends than it was given."""
    return text.replace("\r\n", "\n").strip()


def unresolved() -> Q:
    """The groups that somebody should look at: those not resolved, and those with dead letters that wait."""
    letters = DeadLetter.objects.filter(group=OuterRef("pk"), status=DeadLetter.Status.WAITING)
    return ~Q(state=FailureGroup.State.RESOLVED) | Q(Exists(letters))


def waiting(group_ids: Iterable[int]) -> dict[int, int]:
    """How many dead letters of these groups wait now; a group without any is left out."""
    rows = DeadLetter.objects.filter(group__in=list(group_ids), status=DeadLetter.Status.WAITING)
    return dict(rows.values_list("group").annotate(number=Count("pk")).order_by())


def newest_types(group_ids: Iterable[int]) -> dict[int, str]:
    """The type of the newest dead letter of each of these groups: of one that waits, or else of one that is settled.

    The group's own type is the one it is counted by (`fingerprints.known_type`), which differs for a message without a
    type. A group without dead letters is left out. Takes one look into an index for each group and status.
    """
    newest = (
        Subquery(
            DeadLetter.objects.filter(group=OuterRef("pk"), status=status)
            .order_by("-last_failed_at")
            .values("type")[:1]
        )
        for status in DeadLetter.Status
    )
    rows = FailureGroup.objects.filter(pk__in=list(group_ids)).order_by().values_list("pk", Coalesce(*newest))
    return {pk: type_ for pk, type_ in rows if type_ is not None}


def type_in_words(type: str) -> str:
    """What a message says of its type, in one line, and whether this service takes it."""
    if not type:
        return "untyped"
    shown = one_line(type, width=60)
    return shown if type in config().handler_table else f"{shown}, not taken by this service"


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
