"""What messaging keeps only for a time: inbox rows, what is settled, and the history of what failed."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from messaging.conf import MessagingConfig, delay_seconds
from messaging.errors import ConfigurationError
from messaging.models import DeadLetter, FailureGroup, FailureHour, Replay

BATCH_SIZE = 1000
LONGEST = 36_500
"""Days: a century."""
TREND = timedelta(days=30)
"""How long the hours of a failure group's trend are kept."""


@dataclass(frozen=True, slots=True)
class Purge:
    """How much was deleted, or would be."""

    inbox: int
    """Inbox rows."""
    dead_letters: int
    """Dead letters that are settled."""
    failed_attempts: int = 0
    """Tries that failed."""
    failure_groups: int = 0
    """Resolved groups without dead letters."""
    replays: int = 0
    """Replays that are over, with what became of their messages."""


# An inbox row outlives every dead letter of its message: a message may have taken effect and still have become one (its
# consumer died between commit and ack, again and again), and replaying it must not make it take effect twice.
_OLD_INBOX = """
    FROM messaging_inboxmessage AS old
    WHERE processed_at < %(before)s AND processed_at >= %(position)s
        AND NOT EXISTS (SELECT FROM messaging_deadletter AS d WHERE d.message_id = old.message_id)"""
_OLD_ATTEMPTS = """
    FROM messaging_failedattempt AS old
    WHERE at < %(before)s AND at >= %(position)s"""
_OLD_DEAD_LETTERS = """
    FROM messaging_deadletter AS old
    WHERE status = %(status)s AND settled_at < %(before)s AND settled_at >= %(position)s"""

# The inner query runs once, as an array, whatever the planner believes about the table. Two purges at once skip each
# other's rows.
_DELETE_INBOX = f"""
    DELETE FROM messaging_inboxmessage WHERE message_id = ANY (ARRAY(
        SELECT message_id {_OLD_INBOX} ORDER BY processed_at LIMIT %(limit)s FOR UPDATE OF old SKIP LOCKED))
    RETURNING processed_at"""
_DELETE_DEAD_LETTERS = f"""
    DELETE FROM messaging_deadletter WHERE id = ANY (ARRAY(
        SELECT id {_OLD_DEAD_LETTERS} ORDER BY settled_at LIMIT %(limit)s FOR UPDATE OF old SKIP LOCKED))
    RETURNING settled_at"""
_DELETE_ATTEMPTS = f"""
    DELETE FROM messaging_failedattempt WHERE id = ANY (ARRAY(
        SELECT id {_OLD_ATTEMPTS} ORDER BY at LIMIT %(limit)s FOR UPDATE OF old SKIP LOCKED))
    RETURNING at"""
_DELETE_REPLAYED = """
    DELETE FROM messaging_replayedmessage WHERE id = ANY (ARRAY(
        SELECT id FROM messaging_replayedmessage WHERE replay_id = %(replay)s AND position >= %(position)s
        ORDER BY position LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
    RETURNING position"""

_SETTLED = [status for status in DeadLetter.Status if status != DeadLetter.Status.WAITING]
_BEGINNING = "-infinity"


def shortest_retention(config: MessagingConfig) -> timedelta:
    """How long a message may be on the retry ladder. Whoever forgets it earlier lets it take effect twice."""
    return timedelta(seconds=sum(map(delay_seconds, config.retry_delays)))


def check_retention(config: MessagingConfig, *, days: int) -> None:
    """Raises ConfigurationError when the retention is not longer than the retry ladder, or longer than a century."""
    if days > LONGEST:
        raise ConfigurationError(f"A retention of {days} days is longer than a century: it is at most {LONGEST} days.")
    ladder = shortest_retention(config)
    if timedelta(days=days) <= ladder:
        raise ConfigurationError(
            f"A retention of {days} days is not longer than the retry ladder, which takes {ladder}: a message that "
            f"comes back from its last rung would no longer be recognised and could take effect twice."
        )


def expired(*, before: datetime) -> Purge:
    """How many rows `purge` would delete now. Reads every one of them."""
    with connection.cursor() as cursor:

        def count(old: str, **parameters: Any) -> int:
            cursor.execute(f"SELECT count(*) {old}", {"before": before, "position": _BEGINNING, **parameters})
            return int(cursor.fetchone()[0])

        return Purge(
            inbox=count(_OLD_INBOX),
            dead_letters=sum(count(_OLD_DEAD_LETTERS, status=status) for status in _SETTLED),
            failed_attempts=count(_OLD_ATTEMPTS),
            failure_groups=_old_groups(before).count(),
            replays=_old_replays(before).count(),
        )


def _old_groups(before: datetime) -> QuerySet[FailureGroup]:
    """Groups resolved before that time, with nothing left of them. An open one stays: nobody has decided about it."""
    return FailureGroup.objects.filter(
        state=FailureGroup.State.RESOLVED, changed_at__lt=before, last_seen_at__lt=before, dead_letters=None
    )


def _old_replays(before: datetime) -> QuerySet[Replay]:
    """Replays that were over before that time. One that stopped by itself is not: it may still be resumed."""
    over = [Replay.State.FINISHED, Replay.State.CANCELLED]
    return Replay.objects.filter(state__in=over, watched=False, changed_at__lt=before)


def purge(*, before: datetime, batch_size: int = BATCH_SIZE, on_batch: Callable[[int], object] | None = None) -> Purge:
    """Deletes inbox rows processed, dead letters settled and what else failed before a time; says how many.

    Dead letters that wait, inbox rows of messages that are among the dead letters, failure groups that are not
    resolved or have dead letters, replays that are not over, and what operators did are never touched.
    In batches, each a transaction of its own; `on_batch` is called after each with the number of its rows.
    A crash undoes the current batch only. Several may run at once.
    """

    def deleted(batches: Iterable[int]) -> int:
        total = 0
        for number in batches:
            total += number
            if on_batch:
                on_batch(number)
        return total

    limits = {"before": before, "limit": batch_size}
    # Dead letters first: what they held back in the inbox goes with them.
    dead_letters = sum(deleted(_batches(_DELETE_DEAD_LETTERS, {**limits, "status": status})) for status in _SETTLED)
    inbox = deleted(_batches(_DELETE_INBOX, limits))
    failed_attempts = deleted(_batches(_DELETE_ATTEMPTS, limits))
    groups = deleted(_batches_of_groups(before, batch_size))
    deleted(_batches_of_replayed(limits))
    # Another purge may be deleting the last messages of a replay: then that one removes it.
    replays, _ = _old_replays(before).filter(messages=None).delete()
    FailureHour.objects.filter(hour__lt=timezone.now() - TREND).delete()
    return Purge(inbox, dead_letters, failed_attempts, groups, replays)


def _batches_of_replayed(limits: dict[str, Any]) -> Iterator[int]:
    # One replay after the other: those that are kept may have many more messages, which nobody needs to read.
    for replay in _old_replays(limits["before"]).order_by("pk").values_list("pk", flat=True):
        yield from _batches(_DELETE_REPLAYED, {**limits, "replay": replay}, beginning=0)


def _batches_of_groups(before: datetime, batch_size: int) -> Iterator[int]:
    position = 0
    while True:
        with transaction.atomic():
            # The lock keeps a consumer from adding a dead letter to a group now: afterwards it makes the group anew.
            old = FailureGroup.objects.filter(pk__in=_old_groups(before).values("pk"), pk__gt=position)
            chosen = list(
                old.order_by("pk").select_for_update(skip_locked=True).values_list("pk", flat=True)[:batch_size]
            )
            # Looked at once more, now that nobody can change it.
            still_old = list(_old_groups(before).filter(pk__in=chosen).values_list("pk", flat=True))
            FailureGroup.objects.filter(pk__in=still_old).delete()
        if still_old:
            yield len(still_old)
        if len(chosen) < batch_size:
            return
        position = chosen[-1]


def _batches(statement: str, parameters: dict[str, Any], *, beginning: Any = _BEGINNING) -> Iterator[int]:
    # Each batch begins where the last one ended; from the beginning it would read all the dead index entries again.
    position = beginning
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement, {**parameters, "position": position})
            times = [row[0] for row in cursor.fetchall()]
        if times:
            position = max(times)
            yield len(times)
        if len(times) < parameters["limit"]:
            return
