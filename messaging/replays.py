"""Replays: dead letters that are sent again step by step, so that a repair that is none harms few messages.

What is to be sent is fixed at the start. The consumers carry it on: each calls `advance` about once a second, and one
at a time gets to do something. First goes one message, then five, then twenty-five, each step only when all of the one
before took effect, and then the rest at a rate. A message that fails again in the same way stops the replay.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.core.exceptions import EmptyResultSet
from django.db import connection, transaction
from django.db.models import Case, Count, Exists, F, OuterRef, QuerySet, When
from django.db.models.functions import Now

from desk.display import number_of
from messaging import actions
from messaging.database import database_is_away
from messaging.dead_letters import replay as send_again
from messaging.errors import MessagingError
from messaging.models import DeadLetter, InboxMessage, Replay, ReplayedMessage

logger = logging.getLogger(__name__)

CANARY = (1, 5, 25)
"""How many messages each step of a canary sends, before the rest."""
MAX_RATE = 1000
"""Messages a second."""

# When the consumers are busy they come less often; what they missed is made good for at most so long (seconds).
_LONGEST_GAP = 2.0
# No more than what the rate sends in so many seconds is under way: what fails is noticed before too much is out.
_UNDER_WAY = 10
# So many messages are looked at in one go to find those that somebody has settled meanwhile.
_LOOK_AHEAD = 5_000
_ONE_AT_A_TIME = 0x7265706C617973

State = Replay.State
Outcome = ReplayedMessage.Outcome

POSSIBLE: dict[str, set[State]] = {
    "pause": {State.RUNNING},
    "resume": {State.PAUSED, State.STOPPED},
    "cancel": {State.RUNNING, State.PAUSED, State.STOPPED},
}
"""The states in which people may do what to a replay."""


class ReplayError(MessagingError):
    """What was asked for cannot be done, and nothing was. The text says why, for people."""


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

    What waits later is no part of it, nor is what is in a replay that runs or pauses already: two people who press the
    button at once start one replay. Raises AlreadyReplayingError when that leaves nothing, and ReplayError when none
    waits or the rate is none. One statement, however many there are. A crash in here: nothing has begun.
    """
    if not 1 <= rate <= MAX_RATE:
        raise ReplayError(f"The rate is 1 to {MAX_RATE:,} messages a second.")
    try:
        chosen, parameters = dead_letters.values("pk").query.sql_with_params()
    except EmptyResultSet:
        raise ReplayError("None of them waits any more: nothing was done.") from None
    with transaction.atomic():
        replay = Replay.objects.create(
            created_by=by[:255], reason=reason, canary=canary, rate=rate, total=0, state=State.RUNNING
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
    """A replay that is under way with one of these."""
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
    """Sends nothing more until somebody resumes it; what is on its way goes on.

    Raises ReplayError when it does not run: of two people who press at once, one is told so. A crash before the commit
    changes nothing, and so it is with `resume` and `cancel`.
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
        said = f"{by} cancelled the replay before it was sent."
        waiting.update(outcome=Outcome.SKIPPED, settled_at=Now(), detail=said)


_DONE = {"pause": "Paused", "resume": "Resumed", "cancel": "Cancelled"}


def _change(replay_id: int, state: State, *, by: str, reason: str, verb: str, **more: Any) -> None:
    said = f"{_DONE[verb]} by {by}" + (f": {reason}" if reason else ".")
    with transaction.atomic():
        # The condition decides who was first; whoever carries it on at this moment holds the row.
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
    """How far it is. Counts the messages by an index."""
    counted = replay.messages.order_by().values_list("outcome").annotate(number=Count("pk"))
    counts = dict.fromkeys(Outcome.values, 0) | dict(counted)
    return Progress(**counts, step=_step(replay))


def standing(replay: Replay) -> str:
    """How many messages have which outcome now, and why it is in its state; in one line, for lists."""
    if replay.state == State.FINISHED:  # which says it already
        return replay.state_reason
    return f"{progress(replay)}. {replay.state_reason}".rstrip()


def page(replay: Replay, counts: Mapping[str, int], *, start: int = 0, limit: int) -> list[ReplayedMessage]:
    """Messages of these outcomes, those of one after those of the other, each part read by the index.

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
    handled = _handled_by_canary(replay)
    passed = 0
    for number, size in enumerate(CANARY, start=1):
        passed += size
        if handled < passed and passed - size < replay.total:
            return f"canary {number} of {len(CANARY)}: {number_of(size, 'message')}"
    return f"the rest, {replay.rate} a second"


def advance() -> None:
    """Notes what became of what was sent, and sends what is next, of every replay.

    Any number of processes may call it; one at a time works at a replay, the others pass. All in one transaction: a
    crash undoes it, and then nothing was sent. Raises only what says that the database is away; what else goes wrong
    is logged, and tried again with the next call. With no replay under way it is one query by an index.
    """
    try:
        for replay_id in Replay.objects.filter(watched=True).order_by("pk").values_list("pk", flat=True):
            _carry_on(replay_id)
    except Exception as error:
        if database_is_away(error):
            raise
        logger.exception("replays cannot be carried on")


def _carry_on(replay_id: int) -> None:
    try:
        with transaction.atomic():
            watched = Replay.objects.select_for_update(skip_locked=True).annotate(now=Now())
            replay = watched.filter(pk=replay_id, watched=True).first()
            if replay is None:
                return
            failure = _note_outcomes(replay)
            if failure and replay.state in (State.RUNNING, State.PAUSED):
                _stop(replay, failure)
            elif replay.state == State.RUNNING:
                _send(replay, now=replay.now)
            _leave_or_finish(replay)
    except Exception as error:
        if database_is_away(error):
            raise
        # It holds back no other replay.
        logger.exception("replay cannot be carried on", extra={"replay": replay_id})


@dataclass(frozen=True, slots=True)
class _Failure:
    message_id: UUID
    said: str
    is_same: bool
    """Whether it is of the group that it was of before. Where either is not known it counts as the same."""


_NOTE_HANDLED = """
    UPDATE messaging_replayedmessage m SET outcome = 'handled', settled_at = now()
    FROM messaging_inboxmessage i
    WHERE m.replay_id = %s AND m.outcome = 'sent' AND i.message_id = m.message_id"""
_NOTE_FAILED = """
    UPDATE messaging_replayedmessage m
    SET outcome = 'failed', settled_at = now(), detail = d.error_type || ': ' || left(d.error_message, 1000)
    FROM messaging_deadletter d
    WHERE m.replay_id = %s AND m.outcome = 'sent' AND d.id = m.dead_letter_id AND d.occurrences > m.occurrences
    RETURNING m.message_id, m.detail, coalesce(m.group_id = d.group_id, true)"""
_NOTE_GONE = """
    UPDATE messaging_replayedmessage m
    SET outcome = 'skipped', settled_at = now(), detail = 'Nothing is known of it any more: purge has removed it.'
    WHERE m.replay_id = %s AND m.outcome = 'sent'
        AND NOT EXISTS (SELECT FROM messaging_deadletter d WHERE d.id = m.dead_letter_id)"""
_NOTE_TRIED = """
    UPDATE messaging_replayedmessage m SET detail = tried.said
    FROM (
        SELECT m.id, coalesce(g.fingerprint = a.fingerprint, true) AS is_same,
            'tried again: ' || a.error_type || ': ' || left(a.error_message, 1000) || ' (attempt ' || a.attempt || ')'
            AS said
        FROM messaging_replayedmessage m
        LEFT JOIN messaging_failuregroup g ON g.id = m.group_id
        CROSS JOIN LATERAL (
            SELECT * FROM messaging_failedattempt a
            WHERE a.message_id = m.message_id AND a.step = 'handle' AND a.at >= greatest(m.sent_at, %s)
            ORDER BY coalesce(g.fingerprint = a.fingerprint, true) DESC, a.at DESC LIMIT 1
        ) a
        WHERE m.replay_id = %s AND m.outcome = 'sent'
    ) tried
    WHERE m.id = tried.id AND m.detail <> tried.said
    RETURNING m.message_id, m.detail, tried.is_same"""


def _note_outcomes(replay: Replay) -> _Failure | None:
    """Settles what took effect, failed again or is gone, and returns a failure for which to stop, if there is one."""
    with connection.cursor() as cursor:
        cursor.execute(_NOTE_HANDLED, [replay.pk])
        cursor.execute(_NOTE_FAILED, [replay.pk])
        failed = [_Failure(*row) for row in cursor.fetchall()]
        cursor.execute(_NOTE_GONE, [replay.pk])
        cursor.execute(_NOTE_TRIED, [replay.canary_from, replay.pk])
        tried = [_Failure(*row) for row in cursor.fetchall()]
    same = [failure for failure in (*failed, *tried) if failure.is_same]
    if same:
        return same[0]
    return failed[0] if failed and replay.canary and _handled_by_canary(replay) < sum(CANARY) else None


def _stop(replay: Replay, failure: _Failure) -> None:
    what = "The same failure came back" if failure.is_same else "Another failure came during the canary"
    replay.state = State.STOPPED
    # Without the counts: what is on its way goes on changing them.
    replay.state_reason = f"{what} with message {failure.message_id}: {failure.said}."
    Replay.objects.filter(pk=replay.pk).update(state=replay.state, state_reason=replay.state_reason, changed_at=Now())
    extra = {"replay": replay.pk, "message_id": str(failure.message_id), "error": failure.said}
    transaction.on_commit(partial(logger.warning, "replay stopped", extra=extra))


# What somebody has settled meanwhile, among those that are next.
_SKIP_SETTLED = """
    UPDATE messaging_replayedmessage m
    SET outcome = 'skipped', settled_at = now(), detail = CASE WHEN d.id IS NULL
        THEN 'It is no longer among the dead letters: purge has removed it.'
        ELSE 'It was ' || d.status || ' by ' || d.settled_by || ' before its turn came.' END
    FROM (
        SELECT id, dead_letter_id FROM messaging_replayedmessage
        WHERE replay_id = %s AND outcome = 'waiting' ORDER BY position LIMIT %s
    ) next
    LEFT JOIN messaging_deadletter d ON d.id = next.dead_letter_id
    WHERE m.id = next.id AND d.status IS DISTINCT FROM 'waiting'"""
_NOTE_SENT = """
    UPDATE messaging_replayedmessage m
    SET sent_at = now(), occurrences = d.occurrences, group_id = d.group_id,
        outcome = CASE WHEN m.dead_letter_id = ANY(%(effective)s) THEN 'skipped' ELSE 'sent' END,
        settled_at = CASE WHEN m.dead_letter_id = ANY(%(effective)s) THEN now() END,
        detail = CASE WHEN m.dead_letter_id = ANY(%(effective)s)
            THEN 'It had taken effect before, so that sending it again changes nothing.' ELSE '' END
    FROM messaging_deadletter d
    WHERE m.replay_id = %(replay)s AND m.outcome = 'waiting' AND m.dead_letter_id = ANY(%(sent)s)
        AND d.id = m.dead_letter_id"""


def _send(replay: Replay, *, now: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_SKIP_SETTLED, [replay.pk, _LOOK_AHEAD])
    budget = _budget(replay, now)
    allowed = min(budget, _left_of_step(replay)) if replay.canary else budget
    if budget <= 0:
        return
    is_effective = Exists(InboxMessage.objects.filter(message_id=OuterRef("message_id")))
    waiting = replay.messages.filter(outcome=Outcome.WAITING).annotate(is_effective=is_effective).order_by("position")
    rows = list(waiting.values_list("dead_letter_id", "is_effective")[:budget])
    # What has taken effect already proves nothing, so that it counts for no step.
    effective = [pk for pk, is_effective in rows if is_effective]
    fresh = [pk for pk, is_effective in rows if not is_effective][: max(allowed, 0)]
    sent: list[int] = []

    # What somebody else holds at this moment is left out and comes with the next call.
    send_again(
        dead_letters=DeadLetter.objects.filter(pk__in=[*effective, *fresh]),
        by=replay.created_by,
        reason=replay.reason,
        part_of=replay,
        on_settled=lambda chunk: sent.extend(dead_letter.pk for dead_letter in chunk),
    )
    if not sent:
        return
    with connection.cursor() as cursor:
        cursor.execute(_NOTE_SENT, {"replay": replay.pk, "sent": sent, "effective": effective})
    Replay.objects.filter(pk=replay.pk).update(last_sent_at=Now())


def _budget(replay: Replay, now: datetime) -> int:
    """How many messages the rate allows now."""
    gap = 1.0
    # A time to come was written before the clock of the database was set back.
    if replay.last_sent_at is not None and replay.last_sent_at <= now:
        gap = min((now - replay.last_sent_at) / timedelta(seconds=1), _LONGEST_GAP)
    under_way = replay.messages.filter(outcome=Outcome.SENT).count()
    return min(int(replay.rate * gap), _UNDER_WAY * replay.rate - under_way)


def _left_of_step(replay: Replay) -> int:
    """How many more the step at hand may send."""
    handled = _handled_by_canary(replay)
    under_way = replay.messages.filter(outcome=Outcome.SENT, sent_at__gte=replay.canary_from).count()
    passed = 0
    for size in CANARY:
        passed += size
        if handled < passed:
            return passed - handled - under_way
    return MAX_RATE * _UNDER_WAY


def _handled_by_canary(replay: Replay) -> int:
    """How many took effect since the canary began; beyond the last step it does not count."""
    handled = replay.messages.filter(outcome=Outcome.HANDLED, sent_at__gte=replay.canary_from)
    # From the newest on: those of before a stop come after them and need not be read.
    return len(handled.order_by("-position").values_list("pk")[: sum(CANARY)])


def _leave_or_finish(replay: Replay) -> None:
    """Nobody needs to look any more at a replay with nothing to send and nothing on its way."""
    if replay.messages.filter(outcome=Outcome.SENT).exists():
        return
    if replay.state != State.RUNNING:
        Replay.objects.filter(pk=replay.pk).update(watched=False)
    elif not replay.messages.filter(outcome=Outcome.WAITING).exists():
        replay.state = State.FINISHED
        said = f"{progress(replay)}."
        Replay.objects.filter(pk=replay.pk).update(
            state=State.FINISHED, state_reason=said, changed_at=Now(), finished_at=Now(), watched=False
        )
        transaction.on_commit(partial(logger.info, "replay finished", extra={"replay": replay.pk, "outcome": said}))
