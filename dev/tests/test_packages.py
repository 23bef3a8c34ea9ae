import signal

import pytest

from dev import packages


def test_an_installation_is_finished_before_ctrl_c_counts() -> None:
    finished = []

    def install() -> None:
        with packages._uninterrupted():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.raise_signal(number)
            finished.append("installed")

    with pytest.raises(SystemExit, match="interrupted"):
        install()
    assert finished == ["installed"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_who_installs_through_sudo_goes_on_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Done:
        returncode = 0

    def run(command: list[str], **_: object) -> Done:
        asked.append(command)
        return Done()

    monkeypatch.setitem(packages.GROUPS, "servers", ((lambda: None, "postgresql"),))
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("os.getuid", lambda: 1000)
    monkeypatch.setattr("subprocess.run", run)

    packages.main(["servers"])

    assert asked[-1][-3:] == ["-m", "dev.packages", "servers"]
