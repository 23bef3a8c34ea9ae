"""Replays: dead letters are sent again step by step, so that a repair that does not work harms few messages.

What is to be sent is fixed at the start. This module has what people ask for and see; the consumers carry a replay on,
as `messaging.replay_runner` says.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection, transaction
from django.db.models import Case, Count, Exists, F, OuterRef, QuerySet, When
from django.db.models.functions import Now

from desk.display import number_of
from messaging import actions
from messaging.errors import MessagingError
from messaging.models import DeadLetter, Replay, ReplayedMessage
from messaging.storable import storable_text

CANARY = (1, 5, 25)
"""How many messages each step of a canary sends, before the rest."""
MAX_RATE = 1000
"""Messages a second."""

_ONE_AT_A_TIME = 0x7265706C617973

State = Replay.State
Outcome = ReplayedMessage.Outcome

POSSIBLE: dict[str, set[State]] = {
    "pause": {State.RUNNING},
    "resume": {State.PAUSED, State.STOPPED},
    "cancel": {State.RUNNING, State.PAUSED, State.STOPPED},
}
"""What people may do to a replay, and in which of its states."""


class ReplayError(MessagingError):
    """What was asked for cannot be done, and nothing was done. The text says why, for people."""


class AlreadyReplayingError(ReplayError):
    """All of the chosen dead letters are part of a replay that is under way."""

    def __init__(self, replay: Replay) -> None:
        super().__init__(
            f"They are being replayed already: replay {replay.pk}, started by {replay.created_by}. Nothing was done."
        )
        self.replay = replay


@dataclass(frozen=True, slots=True)
class Progress:
    """How many messages of a replay have which outcome, and which step it is at."""

    waiting: int
    sent: int
    handled: int
    failed: int
    skipped: int
    step: str

    @property
    def total(self) -> int:
        return self.waiting + self.sent + self.handled + self.failed + self.skipped

    @property
    def settled(self) -> int:
        return self.handled + self.failed + self.skipped

    def __str__(self) -> str:
        told = {
            "handled": self.handled, "failed again": self.failed, "skipped": self.skipped,
            "on the way": self.sent, "not sent": self.waiting,
        }  # fmt: skip
        return ", ".join(f"{number:,} {name}" for name, number in told.items() if number) or "nothing"


_FREEZE = """
    INSERT INTO messaging_replayedmessage (
        replay_id, position, dead_letter_id, message_id, subject, group_id, occurrences, outcome, detail
    )
    SELECT %s, row_number() OVER (ORDER BY d.id) - 1, d.id, d.message_id, d.subject, d.group_id, d.occurrences,
        'waiting', ''
    FROM messaging_deadletter d
    WHERE d.id IN ({chosen}) AND d.status = 'waiting' AND NOT EXISTS (
        SELECT FROM messaging_replayedmessage m JOIN messaging_replay r ON r.id = m.replay_id
        WHERE m.dead_letter_id = d.id AND m.outcome IN ('waiting', 'sent') AND r.state IN ('running', 'paused')
    )"""


def start(
    *, dead_letters: QuerySet[DeadLetter], by: str, reason: str = "", canary: bool = True, rate: int = 50
) -> Replay:
    """Begins a replay of those of the dead letters that wait now, oldest first; the consumers send them.

    What comes to wait later is no part of it, nor is what another replay that runs or pauses already has: two people
    who press the button at once start one replay. Raises AlreadyReplayingError when that leaves nothing, and
    ReplayError when none waits or the rate is not valid. One statement, however many there are. A crash in here:
    nothing has begun.
    """
    if not 1 <= rate <= MAX_RATE:
        raise ReplayError(f"The rate is 1 to {MAX_RATE:,} messages a second.")
    try:
        chosen, parameters = dead_letters.values("pk").query.sql_with_params()
    except EmptyResultSet:
        raise ReplayError("None of them waits any more: nothing was done.") from None
    with transaction.atomic():
        replay = Replay.objects.create(
            created_by=storable_text(by, 255),
            reason=storable_text(reason),
            canary=canary,
            rate=rate,
            total=0,
            state=State.RUNNING,
        )
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_ONE_AT_A_TIME])
            cursor.execute(_FREEZE.format(chosen=chosen), [replay.pk, *parameters])
            total = cursor.rowcount
        if not total:
            if other := _replay_of(dead_letters):
                raise AlreadyReplayingError(other)
            raise ReplayError("None of them waits any more: nothing was done.")
        replay.total = total
        replay.save(update_fields=["total"])
        detail = {"messages": total, "canary": canary, "rate": rate}
        actions.record(action="start replay", by=by, reason=reason, replay=replay, detail=detail)
    replay.refresh_from_db()
    return replay


def _replay_of(chosen: QuerySet[DeadLetter]) -> Replay | None:
    """A replay under way that has one of these still to send or on its way."""
    return (
        Replay.objects.filter(state__in=[State.RUNNING, State.PAUSED])
        .filter(
            Exists(
                ReplayedMessage.objects.filter(
                    replay=OuterRef("pk"),
                    outcome__in=[Outcome.WAITING, Outcome.SENT],
                    dead_letter_id__in=chosen.values("pk"),
                )
            )
        )
        .order_by("pk")
        .first()
    )


def pause(*, replay_id: int, by: str, reason: str = "") -> None:
    """Has it send nothing more until somebody resumes it; what is on its way goes on.

    Raises ReplayError when it is not running: of two people who press at once, one is told so. A crash before the
    commit changes nothing, here as in `resume` and `cancel`.
    """
    _change(replay_id, State.PAUSED, by=by, reason=reason, verb="pause")


def resume(*, replay_id: int, by: str, reason: str = "") -> None:
    """Goes on where a pause or a stop left it. After a stop the canary begins again with one message.

    What failed again waits among the dead letters and is no part of it any more. Raises ReplayError as `pause` does.
    """
    _change(
        replay_id, State.RUNNING, by=by, reason=reason, verb="resume", watched=True,
        canary_from=Case(When(state=State.STOPPED, then=Now()), default=F("canary_from")),
    )  # fmt: skip


def cancel(*, replay_id: int, by: str, reason: str = "") -> None:
    """Ends it: what was not sent stays among the dead letters, what is on its way goes on.

    Raises ReplayError as `pause` does.
    """
    with transaction.atomic():
        _change(replay_id, State.CANCELLED, by=by, reason=reason, verb="cancel", watched=True, finished_at=Now())
        waiting = ReplayedMessage.objects.filter(replay=replay_id, outcome=Outcome.WAITING)
        said = f"{storable_text(by)} cancelled the replay before it was sent."
        waiting.update(outcome=Outcome.SKIPPED, settled_at=Now(), detail=said)


_DONE = {"pause": "Paused", "resume": "Resumed", "cancel": "Cancelled"}


def _change(replay_id: int, state: State, *, by: str, reason: str, verb: str, **more: Any) -> None:
    said = storable_text(f"{_DONE[verb]} by {by}" + (f": {reason}" if reason else "."))
    with transaction.atomic():
        # The condition decides who was first; whoever carries the replay on at this moment holds the row.
        changed = Replay.objects.filter(pk=replay_id, state__in=POSSIBLE[verb]).update(
            state=state, state_reason=said, changed_at=Now(), **more
        )
        replay = Replay.objects.filter(pk=replay_id).first()
        if replay is None:
            raise ReplayError(f"There is no replay {replay_id}.")
        if not changed:
            so = f"it is {replay.get_state_display()}" + (f" ({replay.state_reason})" if replay.state_reason else "")
            raise ReplayError(f"Replay {replay_id} was left alone: {so}.")
        actions.record(action=f"{verb} replay", by=by, reason=reason, replay=replay)


def progress(replay: Replay) -> Progress:
    """How far the replay is. Counts the messages by an index."""
    counted = replay.messages.order_by().values_list("outcome").annotate(number=Count("pk"))
    counts = dict.fromkeys(Outcome.values, 0) | dict(counted)
    return Progress(**counts, step=_step(replay))


def standing(replay: Replay) -> str:
    """How many messages have which outcome now, and why the replay is in its state; in one line, for lists."""
    if replay.state == State.FINISHED:  # its reason says both already
        return replay.state_reason
    return f"{progress(replay)}. {replay.state_reason}".rstrip()


def page(replay: Replay, counts: Mapping[str, int], *, start: int = 0, limit: int) -> list[ReplayedMessage]:
    """A page of the messages with these outcomes, one outcome after the other, each part read by the index.

    `counts` says how many there are of each, as `progress` does.
    """
    rows: list[ReplayedMessage] = []
    for outcome, number in counts.items():
        if start < number and len(rows) < limit:
            part = replay.messages.filter(outcome=outcome).order_by("position")
            rows += part[start : start + limit - len(rows)]
        start = max(0, start - number)
    return rows


def _step(replay: Replay) -> str:
    if replay.state in (State.FINISHED, State.CANCELLED):
        return ""
    if not replay.canary:
        return f"all, {replay.rate} a second"
    handled = handled_by_canary(replay)
    passed = 0
    for number, size in enumerate(CANARY, start=1):
        passed += size
        if handled < passed and passed - size < replay.total:
            return f"canary {number} of {len(CANARY)}: {number_of(size, 'message')}"
    return f"the rest, {replay.rate} a second"


def handled_by_canary(replay: Replay) -> int:
    """How many took effect since the canary began; stops counting at the number that all its steps send."""
    handled = replay.messages.filter(outcome=Outcome.HANDLED, sent_at__gte=replay.canary_from)
    # From the newest on: those from before a stop come last and need not be read.
    return len(handled.order_by("-position").values_list("pk")[: sum(CANARY)])
