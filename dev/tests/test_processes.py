import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dev.processes import end, free_port, is_alive, is_taken, kill_rest_of_group, spawn

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc and parent-death signals are Linux's")

SLEEPER = "import time; time.sleep(600)"


def until(condition: Callable[[], object], within: float = 30) -> bool:
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def start(script: str, **more: str) -> subprocess.Popen[bytes]:
    return spawn([sys.executable, "-c", script], cwd=Path("/"), env=dict(os.environ) | more, output=subprocess.PIPE)


def said(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode().strip()


def test_a_child_does_not_outlive_a_parent_that_is_killed() -> None:
    parent = start(
        f"""
import os, subprocess, sys, time
from pathlib import Path
from dev.processes import spawn
child = spawn([sys.executable, "-c", {SLEEPER!r}], cwd=Path("/"), env=os.environ, output=subprocess.DEVNULL)
print(child.pid, flush=True)
time.sleep(600)
"""
    )
    child = int(said(parent))
    assert is_alive(child)

    os.kill(parent.pid, signal.SIGKILL)

    assert until(lambda: not is_alive(child))
    parent.communicate()


def test_end_leaves_no_grandchild_in_a_session_of_its_own() -> None:
    process = start(
        f"""
import subprocess, sys, time
print(subprocess.Popen([sys.executable, "-c", {SLEEPER!r}], start_new_session=True).pid, flush=True)
time.sleep(600)
"""
    )
    grandchild = int(said(process))

    assert end(process)

    assert process.returncode == -signal.SIGTERM
    assert not is_alive(grandchild)


def test_end_kills_what_does_not_listen() -> None:
    process = start(
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    )
    assert said(process) == "deaf"

    assert not end(process, within=0.1)

    assert process.returncode == -signal.SIGKILL


def test_the_rest_of_a_group_is_killed() -> None:
    leader = start(
        f"""
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", {SLEEPER!r}]).pid, flush=True)
"""
    )
    member = int(said(leader))
    leader.wait()
    assert is_alive(member)

    kill_rest_of_group(leader.pid)

    assert until(lambda: not is_alive(member))
    leader.communicate()


def test_a_process_that_has_the_number_of_one_long_gone_is_spared() -> None:
    another = start(SLEEPER)
    try:
        kill_rest_of_group(another.pid)

        assert is_alive(another.pid)
    finally:
        end(another)


def test_ctrl_c_in_the_terminal_does_not_reach_a_child() -> None:
    process = start(SLEEPER)
    try:
        assert os.getpgid(process.pid) != os.getpgid(0)
    finally:
        end(process)


def test_a_port_is_taken_while_somebody_listens_on_it() -> None:
    port = free_port()
    assert not is_taken(port)
    with socket.create_server(("127.0.0.1", port)):
        assert is_taken(port)
    assert not is_taken(port)


def test_a_block_that_leaves_nothing_behind_ends_orphans_too() -> None:
    process = start(
        f"""
import subprocess, sys
from dev.processes import leaving_nothing_behind
with leaving_nothing_behind():
    orphan = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {SLEEPER!r}], stdout=2).pid)"
    print(subprocess.check_output([sys.executable, "-c", orphan], text=True).strip(), flush=True)
"""
    )
    orphan = int(said(process))

    assert process.wait(30) == 0

    assert not Path(f"/proc/{orphan}").exists()
