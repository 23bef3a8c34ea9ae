"""Dead letters: messages that could not be handled are kept here until somebody replays or discards them."""

import json
import math
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Length, Now

from messaging import actions, outbox
from messaging.conf import config
from messaging.failure_counter import FailureCounter, Occurrence
from messaging.message import OutgoingMessage
from messaging.models import DeadLetter, Replay
from messaging.storable import storable_text
from messaging.topology import retry_exchange

_FINGERPRINTS = uuid.UUID("0f9c4a51-3d0e-5f0b-8a55-6d1d9a3c2b10")

CHUNK_ROWS = 500
CHUNK_BYTES = 16 * 1024 * 1024
"""A chunk holds at most this many rows and this many bytes of bodies at once, but always one row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedMessage:
    """What is known of a message that arrived in the dead-letter queue."""

    message_id: uuid.UUID
    type: str
    queue: str
    """The work queue it could not be handled from."""
    headers: dict[str, Any]
    """The sender's own as plain JSON types, without those that messaging and the broker add."""
    body: bytes
    correlation_id: str
    error_type: str
    error_message: str
    traceback: str
    attempts: int
    failed_at: datetime
    """When it was given up. Travels with the message, so the same delivery again has the same time."""
    first_failed_at: datetime
    """When its first attempt failed."""
    place: str = ""
    """Module and function of ours that raised the error, where that is known."""
    release: str = ""
    """The release that gave it up, where that is known."""
    subject: str = ""
    """The business key, where the body has one."""


# `newest` keeps one row of each fingerprint, because ON CONFLICT DO UPDATE refuses to touch a row twice. Ordered, so
# that two consumers that store the same messages wait for each other instead of deadlocking.
# A settled row starts to wait again even for another failure with an older time: clocks differ between machines, and a
# message that looks settled while it has failed again would be lost.
_STORE = """
    WITH failed AS (
        SELECT * FROM unnest(
            %s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::text[], %s::bytea[], %s::text[], %s::text[],
            %s::text[], %s::text[], %s::int[], %s::timestamptz[], %s::timestamptz[], %s::text[], %s::bigint[]
        ) AS f (
            fingerprint, message_id, type, queue, headers, body, correlation_id, error_type,
            error_message, traceback, attempts, failed_at, first_failed_at, subject, group_id
        )
    ), times AS (
        SELECT fingerprint, count(DISTINCT failed_at) AS occurrences, min(first_failed_at) AS first_failed_at
        FROM failed GROUP BY fingerprint
    ), newest AS (
        SELECT DISTINCT ON (fingerprint) * FROM failed ORDER BY fingerprint, failed_at DESC
    )
    INSERT INTO messaging_deadletter AS kept (
        fingerprint, message_id, type, queue, headers, body, correlation_id, error_type, error_message, traceback,
        attempts, occurrences, first_failed_at, last_failed_at, status, settled_by, subject, group_id
    )
    SELECT
        fingerprint, message_id, type, queue, headers::jsonb, body, correlation_id, error_type, error_message,
        traceback, attempts, times.occurrences, times.first_failed_at, failed_at, 'waiting', '', subject, group_id
    FROM newest JOIN times USING (fingerprint)
    ORDER BY fingerprint
    ON CONFLICT (fingerprint) DO UPDATE SET
        type = excluded.type,
        queue = excluded.queue,
        headers = excluded.headers,
        correlation_id = excluded.correlation_id,
        error_type = excluded.error_type,
        error_message = excluded.error_message,
        traceback = excluded.traceback,
        attempts = excluded.attempts,
        occurrences = kept.occurrences + greatest(1, (
            SELECT count(DISTINCT failed.failed_at) FROM failed
            WHERE failed.fingerprint = kept.fingerprint AND failed.failed_at > kept.last_failed_at
        )),
        first_failed_at = least(kept.first_failed_at, excluded.first_failed_at),
        last_failed_at = greatest(kept.last_failed_at, excluded.last_failed_at),
        status = 'waiting',
        settled_at = NULL,
        settled_by = '',
        subject = excluded.subject,
        group_id = excluded.group_id
    WHERE excluded.last_failed_at > kept.last_failed_at
        OR (kept.status <> 'waiting' AND excluded.last_failed_at <> kept.last_failed_at)"""
_KNOWN = """
    SELECT fingerprint, last_failed_at, status FROM messaging_deadletter
    WHERE fingerprint = ANY (%s) ORDER BY fingerprint FOR UPDATE"""


def store(failed: Sequence[FailedMessage]) -> None:
    """Keeps the messages, all or none. Acknowledge them only after this has returned.

    A message (same id, same body) that fails again keeps its row, which gets one more occurrence and the newer error,
    and waits again. The same delivery once more (a crash between this and the acknowledgement) changes nothing.
    Each new occurrence is counted in its failure group, which opens again if it was resolved.
    Whatever the broker can deliver is kept: what PostgreSQL refuses in a text (NUL, lone surrogates) is replaced, text
    too long for its column is cut; the body is kept byte for byte.
    A crash in here: nothing is kept, and the broker delivers again.
    """
    if not failed:
        return
    rows = [_Row(f, _occurrence(f), fingerprint(message_id=f.message_id, body=f.body)) for f in failed]
    rows.sort(key=lambda row: (row.fingerprint, row.failed.failed_at))
    with transaction.atomic(), connection.cursor() as cursor:
        # The groups first, so that everybody takes the locks in one order.
        counter = FailureCounter([row.occurrence for row in rows])
        # One chunk, unless the bodies are huge: PostgreSQL takes at most 1 GB in one statement.
        for chunk in _chunks(rows, size=lambda row: len(row.failed.body)):
            cursor.execute(_KNOWN, [[row.fingerprint for row in chunk]])
            known = {fingerprint: (last, status) for fingerprint, last, status in cursor.fetchall()}
            for row in _new(chunk, known):
                counter.count(row.occurrence)
            cursor.execute(_STORE, _columns(chunk, counter))
        counter.close()


@dataclass(frozen=True, slots=True)
class _Row:
    failed: FailedMessage
    occurrence: Occurrence
    fingerprint: uuid.UUID


def _occurrence(f: FailedMessage) -> Occurrence:
    return Occurrence(
        error_type=f.error_type,
        place=f.place,
        type=f.type,
        error_message=f.error_message,
        release=f.release,
        failed_at=f.failed_at,
    )


def _new(rows: Sequence[_Row], known: dict[uuid.UUID, tuple[datetime, str]]) -> Iterator[_Row]:
    """Those that `_STORE` counts as occurrences, by the same rules."""
    # A later one of the same message and time is the same delivery again.
    by_message: dict[uuid.UUID, dict[datetime, _Row]] = {}
    for row in rows:
        by_message.setdefault(row.fingerprint, {})[row.failed.failed_at] = row
    for fingerprint, times in by_message.items():
        if fingerprint not in known:
            yield from times.values()
            continue
        last, status = known[fingerprint]
        newer = [row for failed_at, row in times.items() if failed_at > last]
        newest = max(times)
        if not newer and status != DeadLetter.Status.WAITING and newest != last:
            newer = [times[newest]]
        yield from newer


def fingerprint(*, message_id: uuid.UUID, body: bytes) -> uuid.UUID:
    """The same for the same id and body. Two senders that use one id for different bodies stay apart."""
    return uuid.uuid5(_FINGERPRINTS, message_id.bytes + body)


OnSettled = Callable[[Sequence[DeadLetter]], object]


def replay(
    *,
    dead_letters: QuerySet[DeadLetter],
    by: str,
    reason: str = "",
    part_of: Replay | None = None,
    on_settled: OnSettled | None = None,
) -> int:
    """Sends those of the dead letters that still wait to the work queue again, and returns how many those were.

    They keep their message id, type, correlation id and headers, and their attempts start again at one. Each is
    marked as replayed, and written down as an operator's action with who, when and why, in the transaction that writes
    it into the outbox: two people who replay the same dead letter at once send it once.

    Works in chunks, each a transaction of its own unless the caller has opened one. `on_settled` is called with every
    chunk inside its transaction, for progress; if it raises, the chunk is undone. Rows that somebody else is settling
    or storing at this moment are left alone. A crash undoes the current chunk only: run it again for the rest.
    """

    def settle(chunk: Sequence[DeadLetter]) -> None:
        outbox.add([again(dead_letter) for dead_letter in chunk])
        actions.record(action="replay", by=by, reason=reason, dead_letters=chunk, replay=part_of)
        if on_settled:
            on_settled(chunk)

    fields = ["message_id", "type", "correlation_id", "headers", "body", "subject"]
    return _settle(dead_letters, status=DeadLetter.Status.REPLAYED, by=by, fields=fields, settle=settle)


def discard(
    *,
    dead_letters: QuerySet[DeadLetter],
    by: str,
    reason: str = "",
    within: float = math.inf,
    on_settled: OnSettled | None = None,
) -> int:
    """Settles those of the dead letters that still wait without sending them again, and returns how many those were.

    They stay to be read until `purge` removes them. After `within` seconds no further chunk is begun: the rest waits.
    The action, the chunks, `on_settled` and crashes are as in `replay`.
    """

    def settle(chunk: Sequence[DeadLetter]) -> None:
        actions.record(action="discard", by=by, reason=reason, dead_letters=chunk)
        if on_settled:
            on_settled(chunk)

    status = DeadLetter.Status.DISCARDED
    return _settle(
        dead_letters, status=status, by=by, fields=["message_id", "type", "subject"], settle=settle, within=within
    )


def _settle(
    dead_letters: QuerySet[DeadLetter],
    *,
    status: DeadLetter.Status,
    by: str,
    fields: Sequence[str],
    settle: OnSettled,
    within: float = math.inf,
) -> int:
    deadline = monotonic() + within
    # What is chosen is decided here, once: what arrives or fails again meanwhile is no part of it.
    chosen = dead_letters.filter(status=DeadLetter.Status.WAITING).order_by("pk").annotate(size=Length("body"))
    sizes = chosen.values_list("pk", "size").iterator()
    settled = 0
    for rows in _chunks(sizes, size=lambda row: row[1]):
        with transaction.atomic():
            # The lock decides who settles a row; whoever comes second finds it locked, or no longer waiting.
            waiting = DeadLetter.objects.filter(pk__in=[pk for pk, _ in rows], status=DeadLetter.Status.WAITING)
            chunk = list(waiting.only(*fields).order_by("pk").select_for_update(skip_locked=True))
            if not chunk:
                continue
            settle(chunk)
            DeadLetter.objects.filter(pk__in=[dead_letter.pk for dead_letter in chunk]).update(
                status=status, settled_at=Now(), settled_by=storable_text(by, 255)
            )
        settled += len(chunk)
        if monotonic() >= deadline:
            break
    return settled


def _chunks[T](items: Iterable[T], *, size: Callable[[T], int]) -> Iterator[list[T]]:
    chunk: list[T] = []
    total = 0
    for item in items:
        if chunk and (len(chunk) == CHUNK_ROWS or total + size(item) > CHUNK_BYTES):
            yield chunk
            chunk, total = [], 0
        chunk.append(item)
        total += size(item)
    if chunk:
        yield chunk


def _columns(rows: Sequence[_Row], counter: FailureCounter) -> list[list[Any]]:
    failed = [row.failed for row in rows]
    return [
        [row.fingerprint for row in rows],
        [f.message_id for f in failed],
        [storable_text(f.type, 255) for f in failed],
        [storable_text(f.queue, 255) for f in failed],
        [json.dumps(_storable(f.headers)) for f in failed],
        [f.body for f in failed],
        [storable_text(f.correlation_id, 255) for f in failed],
        [storable_text(f.error_type, 255) for f in failed],
        [storable_text(f.error_message) for f in failed],
        [storable_text(f.traceback) for f in failed],
        [f.attempts for f in failed],
        [f.failed_at for f in failed],
        [f.first_failed_at for f in failed],
        [storable_text(f.subject, 64) for f in failed],
        [counter.group_id(row.occurrence.fingerprint) for row in rows],
    ]


def again(dead_letter: DeadLetter) -> OutgoingMessage:
    """The message on its way to the work queue again: with its own id, type, correlation id and headers."""
    traceparent = dead_letter.headers.get("traceparent")
    return OutgoingMessage(
        message_id=dead_letter.message_id,
        type=dead_letter.type,
        body=bytes(dead_letter.body),
        correlation_id=dead_letter.correlation_id,
        traceparent=traceparent if isinstance(traceparent, str) else "",
        headers=dead_letter.headers,
        # Straight to the work queue of this service, and to no other that takes the same type. Not to the queue the
        # dead letter came from: that may have been an earlier version, which nobody reads any more.
        exchange=retry_exchange(config()),
        routing_key=config().queue,
    )


def _storable(value: Any) -> Any:
    """Plain JSON types without the characters that PostgreSQL refuses."""
    match value:
        case str():
            return storable_text(value)
        case dict():
            return {storable_text(key): _storable(item) for key, item in value.items()}
        case list():
            return [_storable(item) for item in value]
        case _:
            return value
