"""The six processes of the system, started by the commands that operators use."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.environment import ORDER, PROCESSOR, SERVICES, Service
from dev.processes import end, kill_rest_of_group, spawn

BIN = Path(sys.executable).parent
ROLES = ("web", "relay", "consume")
NAMES = tuple(f"{service.name}-{role}" for service in SERVICES for role in ROLES)
"""order-web, order-relay, …, processor-consume."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended."""

    code: int
    seconds: float
    """From the signal to the end of the process."""
    said: str


def service_of(name: str) -> Service:
    return ORDER if name.startswith(f"{ORDER.name}-") else PROCESSOR


def command_of(name: str) -> list[str | Path]:
    """The fixed command of a process, to be run in its service's folder."""
    service, role = service_of(name), name.partition("-")[2]
    if role == "web":
        return [BIN / "gunicorn", f"{service.package}.wsgi"]
    return [sys.executable, "manage.py", role]


class Program:
    """One of the six processes, however often it is restarted: all its output goes to one file."""

    def __init__(self, name: str, env: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.service = service_of(name)
        self.env = env
        self.log = log
        self.changes: dict[str, str] = {}
        """What its environment has now in addition to `env`, or instead."""
        self._process: subprocess.Popen[bytes] | None = None
        self._groups: list[int] = []

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self.is_running else None

    @property
    def ended_by_itself(self) -> str:
        """A sentence if it has ended without `stop` or `kill`; else empty."""
        code = None if self._process is None else self._process.poll()
        if code is None:
            return ""
        return f"{self.name} has ended by itself, with {code}; it said last:\n{self.text()[-2000:]}"

    def start(self, changes: Mapping[str, str] | None = None, *, folder: Path | None = None) -> None:
        """Starts it with these changes to its environment; returns before it is ready."""
        assert not self.is_running, f"{self.name} runs already"
        self.changes = dict(changes or {})
        with self.log.open("ab") as log:
            self._process = spawn(
                command_of(self.name),
                cwd=folder or self.service.folder,
                env={**self.env, **self.changes},
                output=log,
            )
        self._groups.append(self._process.pid)

    def stop(self, by: signal.Signals = signal.SIGTERM) -> Ended:
        """Asks it to end, and waits longer for that than it may take."""
        assert self._process is not None
        started = time.monotonic()
        end(self._process, by=by, within=30)
        return self._ended(time.monotonic() - started)

    def kill(self) -> None:
        """SIGKILL, to this process only: what it has forked must notice by itself."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def wait_for_end(self, within: float) -> Ended:
        """Waits until it ends by itself. If it does not, ends it and fails."""
        assert self._process is not None
        started = time.monotonic()
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            self.close()
            raise AssertionError(f"{self.name} goes on running; it said:\n{self.text()}") from None
        return self._ended(time.monotonic() - started)

    def close(self) -> None:
        """Ends it, and all that it or its earlier runs have left behind."""
        if self._process is not None:
            end(self._process, by=signal.SIGKILL)
            self._process = None
        for group in self._groups:
            kill_rest_of_group(group)
        self._groups.clear()

    def text(self, since: int = 0) -> str:
        """What it has written since a position in bytes (see `position`)."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(since)
            return log.read().decode(errors="replace")

    @property
    def position(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def lines(self, since: int = 0, **wanted: Any) -> list[dict[str, Any]]:
        """Its log lines that have these values, such as `message="order processed"`."""
        lines = (json.loads(line) for line in self.text(since).splitlines() if line.startswith("{"))
        return [line for line in lines if all(line.get(key) == value for key, value in wanted.items())]

    def _ended(self, seconds: float) -> Ended:
        assert self._process is not None
        code = self._process.returncode
        self._process = None
        return Ended(code, seconds, self.text())
