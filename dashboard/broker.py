"""What RabbitMQ says, asked so that no page waits long for a broker that does not answer.

A thread asks. Pages take its last answer if that is recent, else they wait for the next one, for a second at most. Only
one thread asks at a time, however many pages are looked at.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from messaging import topology_diff
from messaging.conf import config
from messaging.depth import QueueDepth, queue_depths
from messaging.errors import BrokerUnavailableError, ConfigurationError
from messaging.topology_diff import Difference

logger = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds that a page waits for an answer."""


@dataclass(frozen=True, slots=True)
class Depths:
    """This service's queues, or the reason why they are unknown."""

    queues: tuple[QueueDepth, ...] = ()
    error: str = ""


class Asker[T]:
    """Keeps the last answer to a question. Safe for use by many threads."""

    def __init__(self, question: Callable[[], T], *, otherwise: T, max_age: float) -> None:
        """An answer is good enough for `max_age` seconds; `otherwise` is the answer when none comes in time.

        The question must raise nothing, but return as its answer what went wrong.
        """
        self._question = question
        self._otherwise = otherwise
        self._max_age = max_age
        self._changed = threading.Condition()
        self._is_asking = False
        self._answer = otherwise
        self._answered_at: float | None = None

    def ask(self) -> None:
        """Begins to ask if the last answer is too old. Returns at once."""
        with self._changed:
            if self._is_asking or self._is_young():
                return
            self._is_asking = True
        # A daemon: a broker that hangs must not keep the process from ending.
        threading.Thread(target=self._work, name="ask the broker", daemon=True).start()

    def answer(self) -> T:
        """The last answer if it is recent; else the one that comes within `PATIENCE`, or `otherwise`."""
        self.ask()
        with self._changed:
            self._changed.wait_for(lambda: not self._is_asking, timeout=PATIENCE)
            return self._answer if self._is_young() else self._otherwise

    def _is_young(self) -> bool:
        return self._answered_at is not None and time.monotonic() - self._answered_at < self._max_age

    def _work(self) -> None:
        answer = self._otherwise
        try:
            answer = self._question()
        finally:
            with self._changed:
                self._answer, self._answered_at, self._is_asking = answer, time.monotonic(), False
                self._changed.notify_all()


def _depths() -> Depths:
    try:
        return Depths(queues=tuple(queue_depths(config(), timeout=2)))
    except Exception as error:  # whatever it is, the page says it
        return Depths(error=str(error) or type(error).__name__)


def _dangers() -> tuple[Difference, ...]:
    """Only the management API knows them. If it cannot be asked, no message is in danger, so only the log says so."""
    if not config().management_url:
        return ()
    try:
        return tuple(found for found in topology_diff.compare(config()).differences if found.loses_messages)
    except (BrokerUnavailableError, ConfigurationError) as error:
        logger.warning("overview: the broker's policies are unknown", extra={"error": str(error)})
        return ()


depths = Asker(_depths, otherwise=Depths(error=f"RabbitMQ has not answered within {PATIENCE:g} s."), max_age=5.0)
"""How long this service's queues are."""
dangers: Asker[tuple[Difference, ...]] = Asker(_dangers, otherwise=(), max_age=30.0)
"""Settings on the broker that make this service lose messages."""
