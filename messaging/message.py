"""The message as handlers see it, and as services hand it to the outbox.

Both are msgspec's structs: a frozen dataclass takes five times as long to make.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct, field
from uuid_utils.compat import uuid7


class Message[T](Struct, frozen=True):
    """One delivery whose envelope and body are valid."""

    id: UUID
    type: str
    payload: T
    correlation_id: str
    traceparent: str
    attempt: int
    """1 on the first delivery, one more after each retry rung."""
    published_at: datetime | None = None
    """When the sender's relay sent it; None when the sender does not say so."""


@dataclass(frozen=True, slots=True)
class Handler[T]:
    """What a service does with one type of message: a row of its `HANDLERS` table."""

    decode: Callable[[bytes], T]
    """Turns the body into the payload. Raises ValueError when the body is not valid."""
    handle: Callable[[Sequence[Message[T]]], None]
    """Runs inside the transaction that writes the inbox; touches the database and the outbox, nothing else."""
    schema_versions: frozenset[int] = frozenset({1})
    subject: str = ""
    """Name of the body's field with the business key: what the message is about, whatever its id."""


class OutgoingMessage(Struct, frozen=True, kw_only=True):
    """What a service wants announced. Goes to the configured exchange, unless told otherwise."""

    type: str
    body: bytes
    schema_version: int = 1
    correlation_id: str = ""
    """Empty: that of the current context (`observability.context`)."""
    traceparent: str = ""
    """Empty: that of the current context."""
    message_id: UUID = field(default_factory=uuid7)
    exchange: str | None = None
    """None: the configured one. Empty: the broker's default exchange, which leads to the queue of the routing key."""
    routing_key: str | None = None
    """None: the type."""
    headers: Mapping[str, Any] = field(default_factory=dict)
    """Sent as well. A `schema-version` in here overrides the field above; a `traceparent` in here does not."""
