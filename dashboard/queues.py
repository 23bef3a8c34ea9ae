"""How long the service's queues are, asked so that no page waits long for a broker that does not answer.

A thread asks; whoever wants to know takes its last answer when that is young, and waits for the next for at most a
second. One thread asks at a time, however many look.
"""

import threading
import time
from dataclasses import dataclass

from messaging.conf import config
from messaging.depth import QueueDepth, queue_depths

MAX_AGE = 5.0
"""Seconds for which an answer is good enough."""
PATIENCE = 1.0
"""Seconds that a page waits for one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Of the broker: its queues, or why there is none."""

    queues: tuple[QueueDepth, ...] = ()
    error: str = ""


_TOO_LATE = Answer(error=f"RabbitMQ has not answered within {PATIENCE:g} s.")


class Asker:
    """Keeps the last answer. Safe to be used by many threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._is_asking = False
        self._answer = _TOO_LATE
        self._answered_at: float | None = None

    def ask(self) -> None:
        """Begins to ask when that is due, and returns at once."""
        with self._changed:
            if self._is_asking or self._is_young():
                return
            self._is_asking = True
        # A daemon: a broker that hangs must not keep the process from leaving.
        threading.Thread(target=self._work, name="queue depths", daemon=True).start()

    def answer(self) -> Answer:
        """The last answer if it is young; else what comes within `PATIENCE`."""
        self.ask()
        with self._changed:
            self._changed.wait_for(lambda: not self._is_asking, timeout=PATIENCE)
            return self._answer if self._is_young() else _TOO_LATE

    def _is_young(self) -> bool:
        return self._answered_at is not None and time.monotonic() - self._answered_at < MAX_AGE

    def _work(self) -> None:
        answer = _TOO_LATE
        try:
            answer = Answer(queues=tuple(queue_depths(config(), timeout=2)))
        except Exception as error:  # whatever it is, the page says it
            answer = Answer(error=str(error) or type(error).__name__)
        finally:
            with self._changed:
                self._answer, self._answered_at, self._is_asking = answer, time.monotonic(), False
                self._changed.notify_all()


asker = Asker()
"""This process's."""
