import subprocess

import pytest

from dev import reconcile
from dev.processes import free_port


def test_without_make_run_it_says_so_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable in ("ORDER_PORT", "PROCESSOR_PORT"):
        monkeypatch.setenv(variable, str(free_port()))

    with pytest.raises(SystemExit) as caught:
        reconcile.main(["--repair"])

    said = capsys.readouterr()
    assert caught.value.code == 2
    assert said.out == ""
    assert said.err.startswith("`make run` is not up: nobody is at http://localhost:")
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize(("codes", "worst"), [((0, 0), 0), ((0, 1), 1), ((-9, 0), 137), ((0, -15), 143), ((2, 1), 2)])
def test_it_ends_with_the_worse_of_the_two_and_a_signal_is_no_success(
    monkeypatch: pytest.MonkeyPatch, codes: tuple[int, int], worst: int
) -> None:
    left = iter(codes)
    monkeypatch.setattr(reconcile, "is_taken", lambda port: True)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, next(left)))

    with pytest.raises(SystemExit) as caught:
        reconcile.main([])

    assert caught.value.code == worst
