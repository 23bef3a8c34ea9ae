"""What our own PostgreSQL and RabbitMQ have in common: a folder, a port, a process, a start and an end."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dev.processes import end, free_port, is_alive, spawn

USER = PASSWORD = "dev"
READY_WITHIN = 120.0
"""Seconds. A few are normal; a busy machine may need many."""


class ServerError(Exception):
    """A server did not start; the message says why, or where to look."""


class NotReadyError(Exception):
    """The server does not answer yet."""


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for the folders of servers. It is removed after the block."""
    folder = Path(tempfile.mkdtemp(prefix="order-processing-"))
    folder.chmod(0o755)  # the servers' user has to get to its folders in it
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Server(ABC):
    """One server in a folder of its own. `start()` is `launch()` and then `wait()`, so that two can start together."""

    name: str
    stop_signal: signal.Signals

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        """`folder` is made if it does not exist, where `unprivileged_user()` must be able to reach it.

        Without a `port`, a free one is taken.
        """
        self.folder = folder
        self.port = port or free_port()
        self.user = unprivileged_user()
        self.log = folder / "server.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect, with credentials."""

    @abstractmethod
    def launch(self) -> None:
        """Start the process, in a folder that `_prepare_folder()` has made."""

    @abstractmethod
    def probe(self) -> None:
        """Talk to the server as a client would. Raises NotReadyError while it does not answer."""

    def start(self) -> None:
        self.launch()
        self.wait()

    def wait(self) -> None:
        """Wait until it answers. Raises ServerError when it ends before that, or takes longer than READY_WITHIN."""
        deadline = time.monotonic() + READY_WITHIN
        while True:
            try:
                return self.probe()
            except NotReadyError:
                if not self.is_running() or time.monotonic() > deadline:
                    self.stop()
                    raise ServerError(f"{self.name} did not start. {self.last_words()}") from None
            time.sleep(0.05)

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def last_words(self) -> str:
        said = self.log.read_text(errors="replace") if self.log.exists() else ""
        return f"The end of {self.log}:\n{said[-2000:]}"

    def stop(self) -> None:
        """End it in order. Does nothing when it is not running."""
        if self.process is not None:
            end(self.process, by=self.stop_signal, within=30)
            self.process = None

    def kill(self) -> None:
        """End it like a crash: by SIGKILL, with nothing written first. `start()` brings it back with its data."""
        if self.process is not None:
            end(self.process, by=signal.SIGKILL)
            self.process = None

    def discard(self) -> None:
        """End it at once, for when its data is thrown away too."""
        self.kill()

    def stop_left_over(self) -> None:
        """End what a killed run has left in this folder. On Linux that is about to end by itself."""
        deadline = time.monotonic() + 20
        while left := self._left_over():
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, self.stop_signal if time.monotonic() < deadline else signal.SIGKILL)
            time.sleep(0.2)

    def _left_over(self) -> list[int]:
        """The processes of this folder. It is their HOME (see `_environment`), but PostgreSQL's children lose that."""
        home, found = b"HOME=" + os.fsencode(self.folder), []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                ours = home in (process / "environ").read_bytes().split(b"\0")
                if not ours and (process / "comm").read_text().strip() == "postgres":
                    ours = (process / "cwd").readlink().is_relative_to(self.folder)
                if ours and is_alive(int(process.name)):
                    found.append(int(process.name))
        return found

    def _prepare_folder(self) -> None:
        os.umask(0o022)  # under root, the servers' user has to read what we write for the servers
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        if self.user:
            shutil.chown(self.folder, self.user)
        self.stop_left_over()

    def _environment(self) -> dict[str, str]:
        # Nothing from the caller: a PG… or RABBITMQ_… of theirs would point to other servers.
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}

    def _spawn(self, command: list[str | Path], env: dict[str, str]) -> None:
        if self.log.exists():  # the log of a run that crashed is still wanted during the next one
            self.log.replace(self.log.with_name("server.log.1"))
        with self.log.open("wb") as log:
            self.process = spawn(
                command, cwd=self.folder, env=env, output=log, user=self.user, orphan_signal=self.stop_signal
            )


def unprivileged_user() -> str | None:
    """The user that servers run as: under root the Debian package's `postgres`, or `nobody`; else None, for our own."""
    if os.getuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return "nobody"
