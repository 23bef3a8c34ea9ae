"""CPU seconds of the processes that this one has started, from /proc: Linux only."""

import os
from collections import defaultdict
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def seconds_by_role() -> dict[str, float]:
    """User and system time so far of each child with all its descendants, by what it is: `order web`, `PostgreSQL` …"""
    children: dict[int, list[int]] = defaultdict(list)
    used: dict[int, float] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        pid = int(path.parent.name)
        children[int(fields[1])].append(pid)
        # The last two are those of descendants that have ended.
        used[pid] = sum(map(int, fields[11:15])) / _TICKS

    def with_descendants(pid: int) -> float:
        return used[pid] + sum(map(with_descendants, children[pid]))

    total: dict[str, float] = defaultdict(float)
    for pid in children[os.getpid()]:
        total[_role(Path(f"/proc/{pid}"))] += with_descendants(pid)
    return total


def busy_seconds() -> float:
    """CPU seconds that the whole machine has worked so far, on all its cores."""
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split()[1:10])
    return (user + nice + system + irq + softirq) / _TICKS


def _role(process: Path) -> str:
    try:
        command = (process / "cmdline").read_bytes().decode(errors="replace").strip("\0").split("\0")
        folder = (process / "cwd").resolve().name
    except OSError:
        return "other"
    if Path(command[0]).name == "postgres":
        return "PostgreSQL"
    if Path(command[0]).name in ("beam.smp", "epmd"):
        return "RabbitMQ"
    service, _, project = folder.partition("_")
    if project != "project":
        return "other"
    return f"{service} {'web' if command[-1].endswith('.wsgi') else command[-1]}"
