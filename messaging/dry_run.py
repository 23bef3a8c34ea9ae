"""The dry run: what would happen if a dead letter were replayed, found out by doing it and undoing it."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

import pika
from django.db import DatabaseError, connection, transaction

from database.errors import sqlstate
from messaging import dead_letters, envelope, inbox, outbox
from messaging.conf import config
from messaging.database import database_is_away, ensure_committable
from messaging.envelope import Delivery
from messaging.errors import FAILURES, PermanentError, text_of
from messaging.fingerprints import place_of
from messaging.message import Message
from messaging.models import DeadLetter

LONGEST_LOCK_WAIT = 1.0
"""Seconds that a dry run waits for a row which a consumer holds."""
LONGEST_STATEMENT = 5.0
"""Seconds that one of its statements may take."""


class Verdict(StrEnum):
    """What would become of the message."""

    PASSES = "would pass"
    FAILS = "would fail"
    EFFECTIVE = "already took effect"
    UNKNOWN = "could not be tried"


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What a replay of one dead letter would come to now."""

    dead_letter_id: int | None
    message_id: UUID
    subject: str
    verdict: Verdict
    error_type: str = ""
    error_message: str = ""
    place: str = ""
    """Module and function of ours that raised the error, where that is known."""
    is_permanent: bool = False
    """Of an error: whether the message would go to the dead letters at once, not up the retry ladder first."""

    @property
    def explanation(self) -> str:
        """One sentence for people."""
        match self.verdict:
            case Verdict.PASSES:
                return "The handler took it."
            case Verdict.EFFECTIVE:
                return "It has taken effect before: to replay it would change nothing."
            case _:
                return f"{self.error_type}: {self.error_message}"


def dry_run(chosen: Iterable[DeadLetter], *, within: float | None = None) -> list[DryRun]:
    """Hands each message to its handler as a consumer would, and undoes what it did; says what would have happened.

    Tries them one by one, each in a transaction of its own that is always rolled back (inside an open one, to where it
    was): no row is kept, nothing is announced, and nothing that waits for the commit runs. What no rollback reaches
    does happen: sequences advance, and a handler that calls the outside, against the rules, calls it.
    No message is begun after `within` seconds: then the answer is shorter than what was chosen. No statement takes
    longer than `LONGEST_STATEMENT` or waits for a consumer longer than `LONGEST_LOCK_WAIT`; a message that would need
    more could not be tried now. Raises errors that say that the database is away. A crash in here: nothing has
    happened.
    """
    end = None if within is None else time.monotonic() + within
    done: list[DryRun] = []
    for dead_letter in chosen:
        if end is not None and time.monotonic() >= end:
            break
        done.append(_try(dead_letter))
    return done


def read(dead_letter: DeadLetter) -> Message[Any]:
    """The message that a replay would hand to its handler. Raises InvalidMessageError when it is not valid."""
    return envelope.read(_delivery(dead_letter), config().handler_table)


class _Undo(Exception):
    """Carries the verdict out of the transaction that it ends."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict


def _try(dead_letter: DeadLetter) -> DryRun:
    def found(verdict: Verdict, error: BaseException | None = None) -> DryRun:
        return DryRun(
            dead_letter_id=dead_letter.pk,
            message_id=dead_letter.message_id,
            subject=dead_letter.subject,
            verdict=verdict,
            error_type="" if error is None else type(error).__name__,
            error_message="" if error is None else text_of(error),
            place="" if error is None else place_of(error),
            is_permanent=isinstance(error, PermanentError),
        )

    try:
        with transaction.atomic():
            _handle(dead_letter)
    except _Undo as undone:
        return found(undone.verdict)
    except FAILURES as error:
        if _is_held(error):
            return found(Verdict.UNKNOWN, error)
        if database_is_away(error):
            raise
        return found(Verdict.FAILS, error)
    raise AssertionError("a dry run is always undone")


def _handle(dead_letter: DeadLetter) -> None:
    """What the consumer does with one message. Always raises, so that the transaction around it is undone."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('lock_timeout', %s, true), set_config('statement_timeout', %s, true)",
            [f"{LONGEST_LOCK_WAIT * 1000:.0f}", f"{LONGEST_STATEMENT * 1000:.0f}"],
        )
    message = read(dead_letter)
    if not inbox.admit([message]):
        raise _Undo(Verdict.EFFECTIVE)
    config().handler_table[message.type].handle([message])
    ensure_committable()
    # What the commit would check and refuse.
    connection.check_constraints()
    raise _Undo(Verdict.PASSES)


def _delivery(dead_letter: DeadLetter) -> Delivery:
    """The dead letter as it would come out of the work queue after a replay."""
    message_id, type_, _, routing_key, _, body, correlation_id = outbox.row(dead_letters.again(dead_letter))
    return Delivery(
        tag=0,
        redelivered=False,
        routing_key=routing_key,
        properties=pika.BasicProperties(
            message_id=str(message_id),
            type=type_ or None,
            correlation_id=correlation_id or None,
            headers=dead_letter.headers,
        ),
        body=body,
    )


def _is_held(error: BaseException) -> bool:
    """Whether the error says nothing about the message, nor about the database as a whole.

    A time limit of ours has ended the try (55P03 for a lock, 57014 for a statement), or a deadlock has (40P01, 40001);
    or a table or column is not there (42P01, 42703), which a migration may have yet to bring.
    """
    states = ("55P03", "57014", "40P01", "40001", "42P01", "42703")
    return isinstance(error, DatabaseError) and sqlstate(error) in states
