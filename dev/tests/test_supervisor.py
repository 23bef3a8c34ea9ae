import os
import re
import signal
import sys
from pathlib import Path

import pytest

from dev import supervisor
from dev.processes import is_alive
from dev.supervisor import Member, Supervisor


def member(name: str, script: str) -> Member:
    return Member(name, [sys.executable, "-uc", script], Path("/"), {})


class Watch:
    """Ends the supervision, as Ctrl-C does, once the output has a certain line, or after very many rounds."""

    def __init__(self, capsys: pytest.CaptureFixture[str], until: str) -> None:
        self.output, self._capsys, self._until, self._rounds = "", capsys, until, 0

    def __call__(self) -> None:
        self.output += self._capsys.readouterr().out
        self._rounds += 1
        if re.search(self._until, self.output) or self._rounds > 300:
            raise KeyboardInterrupt


def supervise(members: list[Member], capsys: pytest.CaptureFixture[str], until: str) -> str:
    supervised, watch = Supervisor(members), Watch(capsys, until)
    try:
        with pytest.raises(KeyboardInterrupt):
            supervised.run(meanwhile=watch)
    finally:
        pids = [one.process.pid for one in members if one.process]
        supervised.stop()
    assert not [pid for pid in pids if is_alive(pid)]
    return watch.output + capsys.readouterr().out


def test_each_line_says_which_process_it_is_from(capsys: pytest.CaptureFixture[str]) -> None:
    script = "print('first'); print('second'); import time; time.sleep(600)"
    output = supervise([member("web", script), member("consumer", script)], capsys, "(?s)(second.*){2}")

    assert sorted(output.splitlines()[:4]) == [
        "consumer │ first",
        "consumer │ second",
        "web      │ first",
        "web      │ second",
    ]


def test_what_dies_is_shown_and_brought_back(capsys: pytest.CaptureFixture[str]) -> None:
    script = "import os, sys; print(f'I am {os.getpid()}'); sys.stdout.write('no newline'); sys.exit(3)"
    output = supervise([member("relay", script)], capsys, "(?s)(I am.*){2}")

    assert len(set(re.findall(r"I am (\d+)", output))) == 2
    assert "relay │ no newline\nrelay │ ended with code 3; starting it again in 1 s\n" in output


def test_what_keeps_dying_is_brought_back_less_and_less_often(capsys: pytest.CaptureFixture[str]) -> None:
    output = supervise([member("relay", "raise SystemExit(1)")], capsys, "in 4 s")

    assert re.findall(r"starting it again in (\d+) s", output) == ["1", "2", "4"]


def test_a_process_that_does_not_stop_is_killed_and_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "STOP_WITHIN", 0.5)
    deaf = f"import signal, time; signal.signal({signal.SIGTERM:d}, signal.SIG_IGN); print('deaf'); time.sleep(600)"
    output = supervise([member("deaf", deaf), member("other", "import time; time.sleep(600)")], capsys, "deaf\n")

    assert "deaf  │ did not leave within 0 s and was killed" in output
    assert "other │ ended with signal 15" in output


def test_it_ends_when_its_terminal_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    with os.fdopen(theirs) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        rounds = 0

        def meanwhile() -> None:
            nonlocal rounds
            rounds += 1
            assert rounds < 300
            if rounds == 2:
                os.close(ours)

        with pytest.raises(KeyboardInterrupt):
            Supervisor([]).run(meanwhile=meanwhile)
    assert rounds == 2


def test_what_a_process_says_while_it_stops_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    script = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('the last order is done')))
print('at work')
time.sleep(600)
"""
    output = supervise([member("consumer", script)], capsys, "at work")

    assert output.splitlines()[-1] == "consumer │ the last order is done"
    assert "ended" not in output
