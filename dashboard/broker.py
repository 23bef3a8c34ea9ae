"""What RabbitMQ says, asked so that no page waits long for a broker that does not answer.

A thread asks; whoever wants to know takes its last answer when that is young, and waits for the next for at most a
second. One thread asks at a time, however many look.
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
    """This service's queues, or why there are none."""

    queues: tuple[QueueDepth, ...] = ()
    error: str = ""


class Asker[T]:
    """Keeps the last answer to a question. Safe to be used by many threads."""

    def __init__(self, question: Callable[[], T], *, otherwise: T, max_age: float) -> None:
        """An answer is good enough for `max_age` seconds; `otherwise` stands for one that does not come in time.

        The question says as an answer what goes wrong with it, and raises nothing.
        """
        self._question = question
        self._otherwise = otherwise
        self._max_age = max_age
        self._changed = threading.Condition()
        self._is_asking = False
        self._answer = otherwise
        self._answered_at: float | None = None

    def ask(self) -> None:
        """Begins to ask when that is due, and returns at once."""
        with self._changed:
            if self._is_asking or self._is_young():
                return
            self._is_asking = True
        # A daemon: a broker that hangs must not keep the process from leaving.
        threading.Thread(target=self._work, name="ask the broker", daemon=True).start()

    def answer(self) -> T:
        """The last answer if it is young; else what comes within `PATIENCE`."""
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
    """Only the management API knows them. That it cannot be asked endangers no message, and is left to the log."""
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
"""What is set on the broker that loses messages of this service."""
