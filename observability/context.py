"""The correlation id and the W3C trace context of what this thread is doing now.

Set by the HTTP middleware for a request and by the consumer for a message; read by the logs and by the outbox,
so that one order can be followed through every process it passes.
"""

import os
import re
from contextvars import ContextVar, Token
from random import getrandbits
from types import TracebackType

from uuid_utils import uuid7

_CORRELATION_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

# Both ids in one variable: they are always set together, and each set and reset costs.
_context: ContextVar[tuple[str, str]] = ContextVar("observability", default=("", ""))


def current_correlation_id() -> str:
    """The correlation id at hand, or "" outside of a request and a message."""
    return _context.get()[0]


def current_traceparent() -> str:
    """The W3C `traceparent` at hand, or ""."""
    return _context.get()[1]


class bind:
    """Context manager: what runs inside sees these ids. Restores the former ones at the end, also after an error."""

    __slots__ = ("_ids", "_token")

    def __init__(self, *, correlation_id: str, traceparent: str = "") -> None:
        self._ids = (correlation_id, traceparent)

    def __enter__(self) -> None:
        self._token: Token[tuple[str, str]] = _context.set(self._ids)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _context.reset(self._token)


def rebind(*, correlation_id: str, traceparent: str = "") -> None:
    """Inside a `bind`: sets other ids, from now to its end. For the messages of a batch, one after the other."""
    _context.set((correlation_id, traceparent))


def new_correlation_id() -> str:
    """A new id, 32 hexadecimal digits, greater than all made before: so an index of them grows at its end."""
    return uuid7().hex


def is_correlation_id(text: str) -> bool:
    """Whether a correlation id from outside may be taken over: 1 to 128 of A-Z a-z 0-9 . _ : -

    Anything else could break a log line or a header.
    """
    return _CORRELATION_ID.fullmatch(text) is not None


def is_traceparent(text: str) -> bool:
    """Whether this is a valid W3C `traceparent`."""
    return _TRACEPARENT.fullmatch(text) is not None


def new_traceparent() -> str:
    """The root of a new trace, marked as sampled."""
    random = os.urandom(24).hex()
    return f"00-{random[:32]}-{random[32:]}-01"


def child_traceparent(parent: str) -> str:
    """The next step of the parent's trace: same trace id and flags, new span id. An invalid parent: a new trace."""
    if not is_traceparent(parent):
        return new_traceparent()
    # Not os.urandom, which takes a system call for each message: a span's id need not be hard to guess.
    return f"00-{parent[3:35]}-{getrandbits(64):016x}-{parent[53:]}"
