"""Child processes that never outlive their parent, and the ports they listen on. Standard library only."""

import ctypes
import errno
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
# Loaded here because the child should do as little as possible between fork and exec.
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def spawn(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    env: Mapping[str, str],
    output: IO[bytes] | int,
    user: str | None = None,
    orphan_signal: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start `command` in a process group of its own, so that Ctrl-C reaches it only through us.

    On Linux the child gets `orphan_signal` when the calling thread ends, for any reason, kill -9 included: call this
    from a thread that lives as long as the child should. `user` needs root.
    """
    parent = os.getpid()

    def die_with_parent() -> None:
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, int(orphan_signal))
            if os.getppid() != parent:  # the parent died before the line above
                os._exit(1)

    return subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        user=user,
        group=None if user is None else _group_of(user),
        extra_groups=None if user is None else [],
        start_new_session=True,
        preexec_fn=die_with_parent,
    )


def end(process: subprocess.Popen[bytes], *, by: signal.Signals = signal.SIGTERM, within: float = 10.0) -> bool:
    """End `process` and all that it has started. Returns whether `by` ended it `within` seconds, without SIGKILL."""
    family = _descendants(process.pid) if process.poll() is None else {}
    with suppress(ProcessLookupError):
        process.send_signal(by)
    try:
        process.wait(within)
        left = True
    except subprocess.TimeoutExpired:
        left = False
    if not left:
        process.kill()
        process.wait()
    kill_rest_of_group(process.pid)
    # Also ends descendants in groups of their own, such as Erlang's helpers.
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        alive = [pid for pid, started in family.items() if _started(pid) == started]
        if not alive:
            break
        for pid in alive:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    return left


def kill_rest_of_group(leader: int) -> None:
    """End what is left of a group whose leader, a child of ours, has ended and was waited for.

    While a process of the group lives, no new process gets the group's number. Afterwards one may: it is spared.
    """
    if not Path(f"/proc/{leader}").exists():
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)


@contextmanager
def leaving_nothing_behind() -> Iterator[None]:
    """At the end of the block no process is left that this one or any of its descendants started, not even a zombie.

    On Linux orphans become our children instead of those of process 1, which in a container may not reap them.
    """
    if _libc is not None:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        for pid in _descendants(os.getpid()):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)


def raise_on_termination() -> None:
    """Treat SIGTERM and SIGHUP like Ctrl-C, so that the caller cleans up in the same way after each of them.

    SIGINT itself is set too: a command that a shell runs in the background ignores it otherwise.

    Under make, also end when make dies: nobody would be left to stop us.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    if _libc is not None and "MAKELEVEL" in os.environ:
        _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))


def is_taken(port: int) -> bool:
    """Whether somebody else listens on `port`, so that we could not, or so that `localhost` may lead to them."""
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family) as probe:
                # As servers do, so that a connection that is closed but still remembered does not hold the port.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
        except OSError as error:
            # On a machine without IPv6 nobody can listen on ::1 either.
            if family == socket.AF_INET or error.errno == errno.EADDRINUSE:
                return True
    return False


_given: set[int] = set()


def free_port() -> int:
    """A port nobody listens on, below the range from which outgoing connections take theirs, so that it stays free.

    Another port at each call: a server that is stopped for a while finds its port free when it is started again.
    """
    while (port := random.randrange(20000, 32000)) in _given or is_taken(port):
        pass
    _given.add(port)
    return port


def is_alive(pid: int) -> bool:
    """Whether there is such a process (on Linux). Not if it has ended and waits for its parent to notice."""
    return bool(_started(pid))


def children(pid: int) -> list[int]:
    """The living processes that this one has forked (on Linux); none if it is gone."""
    try:
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except OSError:
        return []


def peak_bytes(pid: int) -> int:
    """The most memory, in bytes, that the process has had resident so far (on Linux); 0 if it is gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def _descendants(ancestor: int) -> dict[int, str]:
    """The descendants of `ancestor`, and when each was started: a number alone may soon be another process's."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            children.setdefault(int(stat(int(folder.name))[1]), []).append(int(folder.name))
    found: dict[int, str] = {}
    generation = children.get(ancestor, [])
    while generation:
        found |= {pid: _started(pid) for pid in generation}
        generation = [child for pid in generation for child in children.get(pid, [])]
    return found


def _started(pid: int) -> str:
    try:
        fields = stat(pid)
        return "" if fields[0] == "Z" else fields[19]
    except (OSError, IndexError):
        return ""


def stat(pid: int) -> list[str]:
    """The fields of Linux's /proc/…/stat from the state on: the name before it may contain anything. Raises OSError."""
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()


def _group_of(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_gid
