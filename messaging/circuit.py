"""The circuit breaker: what a process knows of the database or the broker, and when it tries again.

    closed      it works
    open        it does not: nothing is taken, what is in hand is kept, and nothing is tried before the pause is over
    half-open   the pause is over; the next attempt closes the circuit or opens it again

Each change between open and closed is one log line, however many attempts lie between.
"""

import logging

from messaging import metrics
from messaging.errors import text_of
from messaging.stopping import Backoff, Stop

logger = logging.getLogger(__name__)


class Circuit:
    """The circuit of one dependency, "database" or "broker". Used from one thread."""

    def __init__(self, dependency: str, stop: Stop) -> None:
        self.dependency = dependency
        self.is_open = False
        self._stop = stop
        self._backoff = Backoff()
        metrics.CIRCUIT_OPEN.labels(dependency).set(0)

    def failed(self, error: BaseException) -> None:
        """An attempt has failed: opens the circuit, or keeps it open."""
        if not self.is_open:
            extra = {"dependency": self.dependency, "reason": text_of(error).strip()}
            logger.warning("circuit open: the %s is away", self.dependency, extra=extra)
            metrics.CIRCUIT_OPEN.labels(self.dependency).set(1)
        self.is_open = True

    def worked(self) -> None:
        """An attempt has succeeded: closes the circuit."""
        if self.is_open:
            extra = {"dependency": self.dependency}
            logger.info("circuit closed: the %s is back", self.dependency, extra=extra)
            metrics.CIRCUIT_OPEN.labels(self.dependency).set(0)
        self.is_open = False
        self._backoff.reset()

    def pause(self) -> bool:
        """Waits until the next attempt is due: longer each time, with jitter. False when asked to stop meanwhile."""
        return not self._stop.wait(self._backoff.next())
