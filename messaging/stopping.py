"""How a long-running process ends: SIGTERM or SIGINT, then at most ten seconds."""

import logging
import os
import signal
import threading
import time

logger = logging.getLogger(__name__)

# Whoever stops us gives ten seconds before SIGKILL. What is still in hand then is undone by the database and delivered
# again by the broker, exactly as after a crash.
GRACE = 8.0


class Stop:
    """Is true once the process was asked to end. The signal handler sets a flag and does nothing else."""

    def __init__(self) -> None:
        self._requested = False

    def __bool__(self) -> bool:
        return self._requested

    def install(self) -> None:
        """Takes over SIGTERM and SIGINT, and makes sure that the process ends within the grace period."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: self.request())
        threading.Thread(target=self._end_in_time, name="stop watchdog", daemon=True).start()

    def request(self) -> None:
        """Asks the process to end."""
        self._requested = True

    def wait(self, seconds: float) -> bool:
        """Sleeps, but no longer than until the process is asked to end. Says whether it was."""
        end = time.monotonic() + seconds
        while not self._requested and (left := end - time.monotonic()) > 0:
            time.sleep(min(0.2, left))
        return self._requested

    def _end_in_time(self) -> None:
        while not self._requested:
            time.sleep(0.5)
        time.sleep(GRACE)
        logger.warning("leaving what is in hand: it is rolled back and delivered again")
        logging.shutdown()
        os._exit(0)
