"""How much CPU processes use, from /proc (Linux only), and how fast the CPUs are at the moment."""

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from dev.processes import stat

DRIVER = "driver"
_TICKS = os.sysconf("SC_CLK_TCK")
_CORES = os.cpu_count() or 1

type Roles = Mapping[str, Iterable[int]]
"""The processes of each role, whose descendants count with them."""


@dataclass(frozen=True, slots=True)
class Moment:
    """How much CPU everything has used so far."""

    at: float
    by_role: Mapping[str, float]
    """Seconds, including those of processes that have ended."""
    busy: float
    """Seconds of the whole machine, on all its cores."""

    @classmethod
    def now(cls, roles: Roles) -> Self:
        return cls(time.monotonic(), {DRIVER: sum(os.times()[:4])} | _seconds_by_role(roles), _busy_seconds())


@dataclass(frozen=True, slots=True)
class Used:
    """What was used between two moments."""

    seconds: float
    """Seconds by the clock."""
    by_role: dict[str, float]
    others: float
    """The share of the machine that others took: other processes, and on a virtual machine its neighbours."""

    @classmethod
    def between(cls, before: Moment, after: Moment) -> Self:
        by_role = {role: used - before.by_role.get(role, 0.0) for role, used in after.by_role.items()}
        seconds = after.at - before.at
        others = (after.busy - before.busy - sum(by_role.values())) / (seconds * _CORES)
        return cls(seconds, by_role, max(0.0, others))


def probe() -> float:
    """CPU milliseconds that a fixed piece of Python takes now. The CPUs of a shared host can halve within a minute."""
    started = time.thread_time()
    for _ in range(15):
        words = [f"customer-{number * 7919 % 1000}" for number in range(2000)]
        counted: dict[str, int] = {}
        for word in words:
            counted[word] = counted.get(word, 0) + len(word)
        sorted(counted.items(), key=lambda pair: (pair[1], pair[0]))
    return (time.thread_time() - started) * 1000


def _seconds_by_role(roles: Roles) -> dict[str, float]:
    children: dict[int, list[int]] = defaultdict(list)
    used: dict[int, float] = {}
    for pid in map(int, (folder.name for folder in Path("/proc").glob("[0-9]*"))):
        with suppress(OSError):  # the process has ended meanwhile
            fields = stat(pid)
            children[int(fields[1])].append(pid)
            # The last two fields are for descendants that have ended.
            used[pid] = sum(map(int, fields[11:15])) / _TICKS

    def with_descendants(pid: int) -> float:
        return used.get(pid, 0.0) + sum(map(with_descendants, children[pid]))

    return {role: sum(map(with_descendants, pids)) for role, pids in roles.items()}


def _busy_seconds() -> float:
    user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = map(int, Path("/proc/stat").read_text().split()[1:11])
    return (user + nice + system + irq + softirq + steal) / _TICKS
