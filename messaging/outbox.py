"""The outbox: what a transaction wants announced is a row of the same transaction, so either both happen or neither."""

import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from django.db import Error, connection, transaction
from django.db.models.functions import Now
from msgspec import Struct
from msgspec.structs import asdict

from database.statements import array, execute_alone, execute_prepared
from messaging.conf import config
from messaging.message import OutgoingMessage
from messaging.models import OutboxMessage
from observability import context
from observability.errors import in_one_line

logger = logging.getLogger(__name__)

CHANNEL = "messaging_outbox"

# A NOTIFY for each commit would cost PostgreSQL three quarters of its commits per second. So a process that commits
# more often than this leaves some out; a calmer one leaves out none, even if its commits come unevenly.
_WAKES_A_SECOND = 100
_MOST_WAKES_AT_ONCE = 10
# One and a half times this long (seconds) after it was last woken, a relay looks once more for rows without a NOTIFY.
WAKE_INTERVAL = 0.02
_wakes_left = float(_MOST_WAKES_AT_ONCE)
_counted_at = 0.0


_COLUMNS = {
    "message_id": "uuid",
    "type": "text",
    "exchange": "text",
    "routing_key": "text",
    "headers": "jsonb",
    "body": "bytea",
    "correlation_id": "text",
}
_INSERT = f"INSERT INTO messaging_outboxmessage ({', '.join(_COLUMNS)}, attempts, last_error)"

ADD_ONE = f"{_INSERT} SELECT {', '.join(f'%s::{kind}' for kind in _COLUMNS.values())}, 0, ''"
"""Adds one message; its `row` gives the parameters. For callers that write other rows in the same statement."""

# As arrays, because building the text of a statement with a thousand parameters takes longer than running it.
ADD_EACH = f"{_INSERT} SELECT *, 0, '' FROM unnest({', '.join(f'%s::{kind}[]' for kind in _COLUMNS.values())})"
"""Adds messages; their `columns` are the parameters. For callers that write other rows in the same statement."""


def add(messages: Sequence[OutgoingMessage]) -> None:
    """Writes the messages into the outbox, in one statement, and wakes the relay after the commit.

    Raises RuntimeError outside a transaction, where a crash could keep the message and lose what it announces.
    A crash before the commit: no row, no message. After it: the relay publishes, at least once.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("outbox.add needs the transaction that makes the message true")
    if not messages:
        return
    execute_prepared(ADD_EACH, columns(messages))
    transaction.on_commit(wake_relay, robust=True)


def columns(messages: Sequence[OutgoingMessage]) -> list[str]:
    """The messages, at least one, as the outbox keeps them, column by column."""
    rows = zip(*map(row, messages), strict=True)
    return [array(kind, values) for kind, values in zip(_COLUMNS.values(), rows, strict=True)]


def row(message: OutgoingMessage) -> tuple[UUID, str, str, str, str, bytes, str]:
    """The message as the outbox keeps it, with the ids at hand where it has none."""
    headers = {"schema-version": message.schema_version, **message.headers}
    if traceparent := message.traceparent or context.current_traceparent():
        headers["traceparent"] = traceparent
    return (
        message.message_id,
        message.type,
        config().exchange if message.exchange is None else message.exchange,
        message.type if message.routing_key is None else message.routing_key,
        orjson.dumps(headers).decode(),
        message.body,
        message.correlation_id or context.current_correlation_id(),
    )


def wake_relay() -> None:
    """Hints that there is something to publish. Losing the hint costs at most the relay's poll interval.

    Raises nothing: the messages are committed, and whoever asked for that must not be told of a failure.
    Called after the commit, in a statement of its own: a transaction that notifies takes a lock on the whole database
    for its commit.
    """
    global _counted_at, _wakes_left
    now = time.monotonic()
    _wakes_left = min(_wakes_left + (now - _counted_at) * _WAKES_A_SECOND, _MOST_WAKES_AT_ONCE)
    _counted_at = now
    if _wakes_left < 1:
        return
    _wakes_left -= 1
    try:
        execute_alone(f"NOTIFY {CHANNEL}")
    except Error as error:
        logger.info("relay not woken", extra={"error": in_one_line(error)})


def backlog() -> tuple[int, float]:
    """How many messages wait, and for how many seconds the oldest has; 0 and 0 when none does."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT (SELECT count(*) FROM messaging_outboxmessage),
                      coalesce((SELECT extract(epoch FROM now() - created_at)::float
                                FROM messaging_outboxmessage ORDER BY id LIMIT 1), 0)"""
        )
        waiting, age = cursor.fetchone()
    return waiting, age


class Claimed(Struct):
    """A complete row that was taken out of the outbox. A model instance would take eight times as long to make."""

    id: int
    message_id: str
    type: str
    exchange: str
    routing_key: str
    headers: dict[str, Any]
    body: bytes
    correlation_id: str
    created_at: datetime
    attempts: int
    available_at: datetime
    last_error: str


# The inner query runs once, as an array, and its rows are found by where they lie (ctid), whatever the planner believes
# about a table that is empty most of the time. To find them by their ids, it might walk the whole index `outbox_due`,
# whose last column is the id, once for each row. A row that somebody changes meanwhile is left for the next call.
_CLAIM = f"""
    DELETE FROM messaging_outboxmessage
    WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM messaging_outboxmessage
        WHERE available_at <= now()
        ORDER BY available_at, id
        LIMIT %s
        FOR UPDATE SKIP LOCKED))
    RETURNING {", ".join(Claimed.__struct_fields__).replace("message_id", "message_id::text")}"""


_HEADERS = Claimed.__struct_fields__.index("headers")


def claim(limit: int) -> list[Claimed]:
    """Takes up to `limit` due messages out of the outbox, oldest first; other relays skip them.

    They are gone only when the surrounding transaction commits: a crash before that brings them all back.
    """
    rows = []
    for values in sorted(execute_prepared(_CLAIM, [limit])):
        row = Claimed(*values)
        row.headers = orjson.loads(values[_HEADERS])
        rows.append(row)
    return rows


def put_back(rows: Sequence[Claimed]) -> None:
    """Returns claimed rows to the outbox as they are now, in the transaction that claimed them."""
    OutboxMessage.objects.bulk_create([OutboxMessage(**asdict(row)) for row in rows])


def make_due(*, beyond: timedelta) -> None:
    """Makes due what is due later than `beyond` from now: it was written before the database's clock was set back."""
    OutboxMessage.objects.filter(available_at__gt=Now() + beyond).update(available_at=Now())
