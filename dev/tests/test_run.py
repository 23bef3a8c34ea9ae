"""`make run` in a copy of the project: what it starts, brings back, keeps and leaves behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.environment import ROOT
from dev.processes import end, free_port, is_alive, spawn
from dev.system import DEFAULT_PORTS
from dev.tests.test_processes import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it looks for processes in /proc")


class Run:
    """One `make run`."""

    def __init__(self, project: Path, ports: dict[str, int], *arguments: str, **settings: str) -> None:
        self.ports = ports
        given = dict.fromkeys(("RABBITMQ_URL", "ORDER_DATABASE_URL", "PROCESSOR_DATABASE_URL"), "")  # none
        environment = dict(os.environ) | given | {name: str(port) for name, port in ports.items()} | settings
        command: list[str | Path] = [project / ".venv" / "bin" / "python", "-m", "dev.run", *arguments]
        self.process = spawn(command, cwd=project, env=environment, output=subprocess.PIPE)
        self.output = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line.decode()

    def wait_until_up(self) -> None:
        assert until(lambda: "everything is up" in self.output or self.process.poll() is not None, 120), self.output
        assert self.process.poll() is None, self.output

    def place_order(self) -> str:
        body = {"customer_id": "CUST-1", "items": [{"product_id": "PROD-1", "quantity": 2, "price": 19.99}]}
        return str(self._call("/orders", body)["id"])

    def is_completed(self, order_id: str) -> bool:
        return bool(self._call(f"/orders/{order_id}")["status"] == "completed")

    def end(self, by: signal.Signals) -> int:
        """Ends it and returns the exit code. Afterwards `output` is complete."""
        end(self.process, by=by, within=60)
        self._reader.join()
        return self.process.returncode

    def _call(self, path: str, body: object = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports['ORDER_PORT']}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A copy of the project, so that the tests stay away from the data of a `make run` that is up."""
    copy = tmp_path / "project"
    unwanted = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "docs", "staticfiles", "tests")
    shutil.copytree(ROOT, copy, ignore=unwanted)
    (copy / ".venv").symlink_to(ROOT / ".venv")
    yield copy
    subprocess.run([copy / ".venv" / "bin" / "python", "-m", "dev.data", "--remove"], cwd=copy, check=True)
    assert not (copy / ".data").exists()


@pytest.fixture
def ports() -> dict[str, int]:
    return {variable: free_port() for variable in DEFAULT_PORTS}


def processes_of(project: Path) -> dict[int, str]:
    """The processes that work on the project's files or data."""
    places = [os.fsencode(project), os.fsencode((project / ".data" / "servers").resolve())]
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            about = command + (folder / "environ").read_bytes() + os.fsencode((folder / "cwd").readlink())
        except OSError:
            continue
        if any(place in about for place in places) and is_alive(int(folder.name)):
            found[int(folder.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


def pid_of(project: Path, part: str) -> int:
    return min(pid for pid, command in processes_of(project).items() if part in command)


def test_the_whole_system_runs_survives_and_leaves_nothing_but_its_data(project: Path, ports: dict[str, int]) -> None:
    # What a developer has set for another server must not lead the processes astray.
    run = Run(project, ports, PGSSLMODE="require", PGOPTIONS="-c default_transaction_read_only=on")
    try:
        run.wait_until_up()
        assert f"http://localhost:{ports['ORDER_PORT']}/orders" in run.output
        first = run.place_order()
        assert until(lambda: run.is_completed(first))

        # A second `make run` changes nothing about the first.
        second_run = Run(project, ports)
        assert second_run.process.wait(30) != 0
        second_run.end(signal.SIGTERM)
        assert f"`make run` is up already, as process {run.process.pid}." in second_run.output

        # What dies comes back: one service process, and a server.
        os.kill(pid_of(project, "manage.py consume"), signal.SIGKILL)
        os.kill(pid_of(project, "beam.smp"), signal.SIGKILL)
        assert until(lambda: "-consume" in run.output and "ended with signal 9; starting it again" in run.output)
        second = run.place_order()
        assert until(lambda: run.is_completed(second), 90), run.output

        # A supervisor that is killed takes everything with it.
        run.end(signal.SIGKILL)
        assert until(lambda: not processes_of(project), 60), processes_of(project)

        # The next run finds the orders of the last one, and ends in order.
        run = Run(project, ports)
        run.wait_until_up()
        assert run.is_completed(first)
        assert run.is_completed(second)
        assert run.end(signal.SIGINT) == 0
        assert run.output.endswith("stopped\n")
        assert processes_of(project) == {}
    finally:
        run.end(signal.SIGKILL)


def test_it_is_not_said_to_be_up_while_a_process_keeps_ending(project: Path, ports: dict[str, int]) -> None:
    run = Run(project, ports, PROCESSING_STEPS="nothing.of_the_kind")
    try:
        assert until(lambda: run.output.count("ended with code 1; starting it again") > 2, 120), run.output
        assert until(lambda: answers(ports["ORDER_PORT"]) and answers(ports["PROCESSOR_PORT"]), 60), run.output
        assert "nothing.of_the_kind" in run.output
        assert "everything is up" not in run.output
    finally:
        run.end(signal.SIGKILL)


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/live", timeout=30) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
