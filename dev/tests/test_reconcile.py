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
