"""What the six processes use, from /proc: their peak memory, and their CPU over a time. Linux only."""

import os
import threading
import time
from collections.abc import Mapping

from dev.processes import children, peak_bytes, stat
from tests.programs import Program

_TICKS = os.sysconf("SC_CLK_TCK")
_INTERVAL = 1.0


class Watch:
    """Looks at the processes, and at what they have forked, once a second. A context manager."""

    def __init__(self, programs: Mapping[str, Program]) -> None:
        self._programs = programs
        self.peak_bytes: dict[str, int] = {}
        """For each program, the most bytes that one of its processes has had resident so far."""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look_again_and_again, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def look(self) -> None:
        for name, program in list(self._programs.items()):
            if pid := program.pid:
                peak = max(map(peak_bytes, [pid, *children(pid)]))
                self.peak_bytes[name] = max(self.peak_bytes.get(name, 0), peak)

    def _look_again_and_again(self) -> None:
        while not self._stopped.wait(_INTERVAL):
            self.look()


def cpu_share(programs: Mapping[str, Program], seconds: float) -> dict[str, float]:
    """The share of a core that each program takes in the next seconds. Leaves out those that do not run throughout."""
    before = {name: (pid, _cpu_seconds(pid)) for name, program in programs.items() if (pid := program.pid)}
    started = time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - started
    return {
        name: (_cpu_seconds(pid) - used) / passed for name, (pid, used) in before.items() if programs[name].pid == pid
    }


def _cpu_seconds(pid: int) -> float:
    try:
        return sum(map(int, stat(pid)[11:13])) / _TICKS
    except OSError:
        return 0.0
