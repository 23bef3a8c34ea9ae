"""The circuit breaker: what a process knows of the database or the broker, and when it tries again.

    closed      it works
    open        it does not: nothing is taken, what is in hand is kept, and nothing is tried before the pause is over
    half-open   the pause is over; the next attempt closes the circuit or opens it again

Each change between open and closed is one log line, however many attempts lie between. If the circuit stays open for
another reason than at first (a broker that hangs up, and then lets nobody in), one more line says so.
"""

import logging
import random

from messaging import metrics
from messaging.errors import text_of
from messaging.stopping import Stop

logger = logging.getLogger(__name__)

# Seconds. With jitter, so that processes that fail together do not try again together.
_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 15.0
# The pause before which that line is logged: 20 s or so after the first one, longer than an ordinary restart takes.
_LASTING = 8


class Circuit:
    """The circuit of one dependency, "database" or "broker". Used from one thread."""

    def __init__(self, dependency: str, stop: Stop) -> None:
        self.dependency = dependency
        self.is_open = False
        self._stop = stop
        self._pauses = 0
        self._reason = self._said = ""
        metrics.CIRCUIT_OPEN.labels(dependency).set(0)

    def failed(self, error: BaseException) -> None:
        """An attempt has failed: opens the circuit, or keeps it open."""
        self._reason = text_of(error).strip()
        if not self.is_open:
            self._say("circuit open: the %s is away")
            metrics.CIRCUIT_OPEN.labels(self.dependency).set(1)
        self.is_open = True

    def worked(self) -> None:
        """An attempt has succeeded: closes the circuit."""
        if self.is_open:
            extra = {"dependency": self.dependency}
            logger.info("circuit closed: the %s is back", self.dependency, extra=extra)
            metrics.CIRCUIT_OPEN.labels(self.dependency).set(0)
        self.is_open = False
        self._pauses = 0

    def pause(self) -> bool:
        """Waits until the next attempt is due: longer each time, with jitter. False when asked to stop meanwhile."""
        self._pauses += 1
        if self._pauses == _LASTING and self._reason != self._said:
            self._say("circuit is still open: the %s is away")
        longest = min(_FIRST_PAUSE * 2.0 ** min(self._pauses - 1, 30), _LONGEST_PAUSE)
        return not self._stop.wait(longest * random.uniform(0.5, 1.0))

    def _say(self, message: str) -> None:
        self._said = self._reason
        logger.warning(message, self.dependency, extra={"dependency": self.dependency, "reason": self._reason})
