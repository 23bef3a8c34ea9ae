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
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """Is true once the process was asked to end. The signal handler sets a flag and does nothing else."""

    def __init__(self) -> None:
        self._requested = False

    def __bool__(self) -> bool:
        return self._requested

    def install(self) -> None:
        """Takes over SIGTERM and SIGINT, and makes sure that the process ends within the grace period.

        Even while libpq waits for an answer: Python calls no handler before the answer has come, but writes the signal
        to a pipe at once.
        """
        heard, said = os.pipe()
        os.set_blocking(said, False)
        signal.set_wakeup_fd(said, warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, lambda number, frame: self.request())
        threading.Thread(target=self._end_in_time, args=(heard,), name="stop watchdog", daemon=True).start()

    def request(self) -> None:
        """Asks the process to end."""
        self._requested = True

    def wait(self, seconds: float) -> bool:
        """Sleeps, at most until the process is asked to end. Says whether it was."""
        end = time.monotonic() + seconds
        while not self._requested and (left := end - time.monotonic()) > 0:
            time.sleep(min(0.2, left))
        return self._requested

    def _end_in_time(self, heard: int) -> None:
        while os.read(heard, 1)[0] not in _SIGNALS:
            pass
        time.sleep(GRACE)
        logger.warning("leaving what is in hand: it is rolled back and delivered again")
        logging.shutdown()
        os._exit(0)
