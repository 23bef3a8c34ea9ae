"""Carries the replays on: what the consumers do about them.

Each consumer calls `advance` about once a second, and one at a time gets to do something. First one message is sent,
then five, then twenty-five, each step only when all of the step before took effect; then the rest, at a rate. A message
that fails again in the same way stops the replay.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now

from messaging import dead_letters, replays
from messaging.database import database_is_away
from messaging.models import DeadLetter, InboxMessage, Replay
from messaging.replays import Outcome, State

logger = logging.getLogger(replays.__name__)  # one name for both halves

# Busy consumers call less often; the time they missed is made up for, but never more than this (seconds).
_LONGEST_GAP = 2.0
# At most what the rate sends in this many seconds is under way, so that a failure is noticed before too much is out.
_UNDER_WAY = 10
# How many messages are looked at in one go, to find those that somebody has settled meanwhile.
_LOOK_AHEAD = 5_000


def advance() -> None:
    """For every replay, notes what became of what was sent, and sends what is next.

    Any number of processes may call it; one at a time works on a replay, and the others pass it by. That work is one
    transaction: a crash undoes it, and then nothing was sent. Raises only errors that say that the database is away;
    what else goes wrong is logged, and tried again with the next call. With no replay under way it is one query by an
    index.
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
    """Whether its failure group is the same as before. Where either group is not known it counts as the same."""


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
    return failed[0] if failed and replay.canary and replays.handled_by_canary(replay) < sum(replays.CANARY) else None


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
    WHERE m.id = ANY(%(sent)s) AND d.id = m.dead_letter_id"""


def _send(replay: Replay, *, now: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_SKIP_SETTLED, [replay.pk, _LOOK_AHEAD])
    budget = _budget(replay, now)
    allowed = min(budget, _left_of_step(replay)) if replay.canary else budget
    if budget <= 0:
        return
    is_effective = Exists(InboxMessage.objects.filter(message_id=OuterRef("message_id")))
    waiting = replay.messages.filter(outcome=Outcome.WAITING).annotate(is_effective=is_effective).order_by("position")
    rows = list(waiting.values_list("pk", "dead_letter_id", "is_effective")[:budget])
    # What has taken effect before proves nothing now, so it counts for no step.
    effective = [letter for _, letter, is_effective in rows if is_effective]
    fresh = [letter for _, letter, is_effective in rows if not is_effective][: max(allowed, 0)]
    sent: list[int] = []

    # What somebody else holds at this moment is left out and comes with the next call.
    dead_letters.replay(
        dead_letters=DeadLetter.objects.filter(pk__in=[*effective, *fresh]),
        by=replay.created_by,
        reason=replay.reason,
        part_of=replay,
        on_settled=lambda chunk: sent.extend(dead_letter.pk for dead_letter in chunk),
    )
    if not sent:
        return
    # By their own ids: given those of the dead letters, the planner would read all messages that wait, as it does not
    # know yet how many of a new replay do.
    messages = {letter: pk for pk, letter, _ in rows}
    with connection.cursor() as cursor:
        cursor.execute(_NOTE_SENT, {"sent": [messages[letter] for letter in sent], "effective": effective})
    Replay.objects.filter(pk=replay.pk).update(last_sent_at=Now())


def _budget(replay: Replay, now: datetime) -> int:
    """How many messages the rate allows now."""
    gap = 1.0
    # A time in the future was written before the clock of the database was set back.
    if replay.last_sent_at is not None and replay.last_sent_at <= now:
        gap = min((now - replay.last_sent_at) / timedelta(seconds=1), _LONGEST_GAP)
    under_way = replay.messages.filter(outcome=Outcome.SENT).count()
    return min(int(replay.rate * gap), _UNDER_WAY * replay.rate - under_way)


def _left_of_step(replay: Replay) -> int:
    """How many more messages the current step may send."""
    handled = replays.handled_by_canary(replay)
    under_way = replay.messages.filter(outcome=Outcome.SENT, sent_at__gte=replay.canary_from).count()
    passed = 0
    for size in replays.CANARY:
        passed += size
        if handled < passed:
            return passed - handled - under_way
    return replays.MAX_RATE * _UNDER_WAY


def _leave_or_finish(replay: Replay) -> None:
    """Nobody needs to look any more at a replay with nothing to send and nothing on its way."""
    if replay.messages.filter(outcome=Outcome.SENT).exists():
        return
    if replay.state != State.RUNNING:
        Replay.objects.filter(pk=replay.pk).update(watched=False)
    elif not replay.messages.filter(outcome=Outcome.WAITING).exists():
        replay.state = State.FINISHED
        said = f"{replays.progress(replay)}."
        Replay.objects.filter(pk=replay.pk).update(
            state=State.FINISHED, state_reason=said, changed_at=Now(), finished_at=Now(), watched=False
        )
        transaction.on_commit(partial(logger.info, "replay finished", extra={"replay": replay.pk, "outcome": said}))
