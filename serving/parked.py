"""What a view and the server say to each other about a request that waits, both through its WSGI environ."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol

PARKING = "serving.parking"
"""The server's offer, a `Parking`. Without it the view waits in its own thread."""
PARKED = "serving.parked"
"""The view's wish, a `Parked`. The server takes no answer from this run, or only the beginning of one."""
RESUMED = "serving.resumed"
"""The same `Parked`, when the request runs again because its time has come. It may not be parked a second time."""
WAITED = "serving.waited"
"""Seconds that the request has spent waiting, in whichever way."""


class Parking(Protocol):
    """Where a request can wait without a thread."""

    @property
    def parked(self) -> int:
        """How many wait."""

    @property
    def leaving(self) -> bool:
        """Whether the server is about to go, so that nobody should begin to wait."""


@dataclass(slots=True, eq=False)
class Parked:
    """A request that waits until its key is ready or its time is up."""

    key: Hashable
    until: float
    """By time.monotonic()."""
    heartbeat: bytes = b""
    """For a stream: sent every `heartbeat_seconds`, and the beginning of the answer has been sent already."""
    heartbeat_seconds: float = 0.0

    # Those of `observability.middleware`: so that both runs are one request in the log.
    started: float = 0.0
    """By time.perf_counter()."""
    correlation_id: str = ""
    traceparent: str = ""
