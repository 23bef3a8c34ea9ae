import subprocess
import sys
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
"""`/autogroup-17 nice 0`"""


def what_is_said(*, after: str = "", own_session: bool) -> list[str]:
    """The lines of a process that gives way. The first is by how much a thread of it is nicer than before."""
    command = [sys.executable, "-c", SAY_NICENESS + after]
    done = subprocess.run(command, capture_output=True, text=True, check=True, start_new_session=own_session)
    return done.stdout.splitlines()


def test_a_process_that_gives_way_is_nicer_with_all_its_threads() -> None:
    assert what_is_said(own_session=True) == ["10"]


@pytest.mark.skipif(not SESSION.exists(), reason="this kernel does not weigh sessions")
def test_a_session_of_its_own_weighs_less() -> None:
    _, session = what_is_said(after=f"print(open('{SESSION}').read(), end='')", own_session=True)

    assert session.endswith(" nice 10")


@pytest.mark.skipif(not SESSION.exists(), reason="this kernel does not weigh sessions")
def test_a_session_that_belongs_to_others_too_keeps_its_weight() -> None:
    before = SESSION.read_text()

    assert what_is_said(own_session=False) == ["10"]
    assert SESSION.read_text() == before
