import ctypes
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

SAY_NICENESS = """
import os, threading
from messaging.process import give_way
before = os.nice(0)
give_way()
thread = threading.Thread(target=lambda: print(os.nice(0) - before))
thread.start()
thread.join()
"""
SESSION = Path("/proc/self/autogroup")
"""`/autogroup-17 nice 0`, or nothing where sessions are not weighed."""
PR_CAPBSET_DROP, CAP_SYS_ADMIN = 24, 21
# Looked up here because the child, between fork and exec, should do as little as possible.
LIBC = ctypes.CDLL(None)

weighed = pytest.mark.skipif(
    not SESSION.exists() or not SESSION.read_text().strip(), reason="this kernel does not weigh sessions"
)


def what_is_said(*, after: str = "", own_session: bool) -> list[str]:
    """The lines of a process that gives way. The first is by how much a thread of it is nicer than before."""
    command = [sys.executable, "-c", SAY_NICENESS + after]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, start_new_session=own_session, preexec_fn=as_no_root
    )
    return done.stdout.splitlines()


def as_no_root() -> None:
    """Takes from root what lets it weigh sessions as often as it likes."""
    LIBC.prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN)


def test_a_process_that_gives_way_is_nicer_with_all_its_threads() -> None:
    assert what_is_said(own_session=True) == ["10"]


@weighed
def test_sessions_of_their_own_weigh_less_also_when_several_start_at_once() -> None:
    def session(_: int) -> str:
        return what_is_said(after=f"print(open('{SESSION}').read(), end='')", own_session=True)[1]

    with ThreadPoolExecutor(4) as pool:
        assert all(said.endswith(" nice 10") for said in pool.map(session, range(4)))


@weighed
def test_a_session_that_belongs_to_others_too_keeps_its_weight() -> None:
    before = SESSION.read_text()

    assert what_is_said(own_session=False) == ["10"]
    assert SESSION.read_text() == before
