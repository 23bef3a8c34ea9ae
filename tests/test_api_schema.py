"""Every answer of both APIs is as their OpenAPI documents say: schemathesis, with all its checks on all operations.

The requests are the same every time. SCHEMATHESIS_SEED and SCHEMATHESIS_EXAMPLES give others, and more of them.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.environment import ORDER, PROCESSOR, ROOT, Service
from tests.system import System

SEED = os.environ.get("SCHEMATHESIS_SEED", "1")
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "10")
BOTH = pytest.mark.parametrize("service", [ORDER, PROCESSOR], ids=lambda service: service.name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for the files that schemathesis leaves behind."""
    return tmp_path


@pytest.fixture(autouse=True)
def nothing_fails(system: System) -> Iterator[None]:
    """There is an order to find. Whatever was accepted is processed, without an error or a dead letter on the way."""
    before = {name: program.position for name, program in system.programs.items()}
    system.wait_for_record(system.post_order()["id"])
    yield
    system.heal()
    pending: dict[str, str | int] = {"status": "pending", "page_size": 1}
    system.wait(lambda: not system.orders.get("/orders", params=pending).json()["results"], "every order is final")
    for name, program in system.programs.items():
        assert not [line for line in program.lines(since=before[name]) if line["level"] in {"ERROR", "CRITICAL"}]


@BOTH
def test_every_answer_is_as_documented(system: System, folder: Path, service: Service) -> None:
    run_schemathesis(system.url(f"{service.name}-web"), folder)


@BOTH
def test_every_answer_is_as_documented_where_one_has_to_sign_in(system: System, folder: Path, service: Service) -> None:
    token = system.manage(service, "drf_create_token", "operator").split()[2]
    system.restart(f"{service.name}-web", API_AUTH_REQUIRED="true")

    signed_in = ("--header", f"Authorization: Token {token}")
    run_schemathesis(system.url(f"{service.name}-web"), folder, "--phases", "examples,coverage", *signed_in)


def run_schemathesis(url: str, folder: Path, *options: str) -> None:
    """Runs all checks on every operation. Whatever it finds fails the test, with curl lines to repeat it."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/schema", "--checks", "all", "--no-color"),
            *("--seed", SEED, "--generation-database", "none"),
            *("--max-examples", EXAMPLES, "--continue-on-failure", *options),
        ],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "SCHEMATHESIS_HOOKS": "tests.api_hooks",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    tested = re.search(r"Selected: (\d+)/(\d+)\n *Tested: (\d+)", said)
    assert tested, said
    assert len(set(tested.groups())) == 1, said
