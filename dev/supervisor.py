"""Runs several processes in one terminal: prefixes their lines, restarts what dies, ends all of them in order."""

import os
import select
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dev import console
from dev.processes import end, spawn

STOP_WITHIN = 10.0
"""Seconds that a process has between SIGTERM and SIGKILL."""
LONGEST_PAUSE = 30.0
"""The longest pause in seconds before a restart. The first pause is 1 s, and each one twice the last."""
STEADY = 30.0
"""After this many seconds of life a death counts as the first again."""

_COLOURS = (36, 35, 32, 96, 95, 92, 33, 31)


@dataclass
class Member:
    """One supervised process."""

    name: str
    command: Sequence[str | Path]
    folder: Path
    env: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    due_at: float = 0.0
    """When to start it, for the first time or again."""
    deaths: int = 0
    """Deaths in a row, without a steady life in between."""
    unfinished: bytes = field(default=b"", repr=False)
    """A line whose end has not come yet."""


class Supervisor:
    """Works in the calling thread only, which must live as long as the processes should (see `spawn`)."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        self._selector = selectors.DefaultSelector()
        self._width = max((len(member.name) for member in members), default=0)
        self._colours: dict[str, int] = {}

    def run(self, *, meanwhile: Callable[[], None]) -> None:
        """Runs until an exception, usually KeyboardInterrupt; then call `stop()`.

        `meanwhile` is called several times a second.
        """
        terminal = select.poll()
        if sys.stdin.isatty():
            terminal.register(sys.stdin, 0)
        while True:
            if terminal.poll(0):
                raise KeyboardInterrupt  # the terminal was closed, which `make` tells nobody
            for member in self.members:
                if member.process is None:
                    if time.monotonic() >= member.due_at:
                        self._start(member)
                elif (code := member.process.poll()) is not None:
                    self._bring_back(member, code)
            meanwhile()
            self._copy_output(0.2)

    def stop(self) -> None:
        """End all members at once: SIGTERM, and SIGKILL for those that have not left STOP_WITHIN seconds later."""
        running = {member.name: member.process for member in self.members if member.process is not None}
        for process in running.values():
            process.terminate()
        deadline = time.monotonic() + STOP_WITHIN
        while time.monotonic() < deadline and any(process.poll() is None for process in running.values()):
            self._copy_output(0.05)
        for name, process in running.items():
            code = process.poll()
            if code is None:
                self.say(name, f"did not leave within {STOP_WITHIN:.0f} s and was killed")
            elif code:
                self.say(name, f"ended with {_describe(code)}")
        for member in self.members:
            self._forget(member)

    def say(self, name: str, text: str) -> None:
        """Print a line as if `name` had said it."""
        prefix = f"{name:<{self._width}} │ "
        if console.COLOURED:
            colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
            prefix = f"\x1b[{colour}m{prefix}\x1b[0m"
        console.say(prefix + text)

    def _start(self, member: Member) -> None:
        member.started_at = time.monotonic()
        member.process = spawn(member.command, cwd=member.folder, env=member.env, output=subprocess.PIPE)
        assert member.process.stdout is not None
        self._selector.register(member.process.stdout, selectors.EVENT_READ, member)

    def _bring_back(self, member: Member, code: int) -> None:
        now = time.monotonic()
        self._forget(member)
        member.deaths = 1 if now - member.started_at > STEADY else member.deaths + 1
        pause = min(2.0 ** (member.deaths - 1), LONGEST_PAUSE)
        member.due_at = now + pause
        self.say(member.name, f"ended with {_describe(code)}; starting it again in {pause:.0f} s")

    def _forget(self, member: Member) -> None:
        """Clear up after the process: end what it has started, and print its last line."""
        if member.process is None:
            return
        end(member.process, within=0)
        self._copy_output(0)
        assert member.process.stdout is not None
        if member.process.stdout in self._selector.get_map():
            self._selector.unregister(member.process.stdout)
        member.process.stdout.close()
        if member.unfinished:
            self.say(member.name, member.unfinished.decode(errors="replace"))
        member.process, member.unfinished = None, b""

    def _copy_output(self, timeout: float) -> None:
        for key, _ in self._selector.select(timeout):
            member: Member = key.data
            chunk = os.read(key.fd, 65536)
            if not chunk:
                self._selector.unregister(key.fileobj)
            *lines, member.unfinished = (member.unfinished + chunk).split(b"\n")
            for line in lines:
                self.say(member.name, line.decode(errors="replace"))


def _describe(code: int) -> str:
    return f"code {code}" if code >= 0 else f"signal {-code}"
