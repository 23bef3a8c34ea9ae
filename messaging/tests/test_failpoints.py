import signal
import subprocess
import sys

import pytest

from messaging import failpoints

SCRIPT = """
from messaging import failpoints
for number in range(1, 6):
    print(number, flush=True)
    failpoints.reach("relay.confirmed")
    failpoints.reach("consume.kept")
    failpoints.reach("messaging.tests.reached")
"""


def run(setting: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT], env={"FAILPOINT": setting}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("setting", "last"), [("relay.confirmed", "1"), ("relay.confirmed@3", "3"), ("messaging.tests.reached@2", "2")]
)
def test_the_process_dies_at_the_named_place_at_the_given_time(setting: str, last: str) -> None:
    done = run(setting)
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split()[-1] == last


def test_a_place_that_is_never_reached_kills_nobody() -> None:
    done = run("publisher.confirming")
    assert (done.returncode, done.stdout.split()[-1]) == (0, "5")


@pytest.mark.parametrize("setting", ["nowhere", "nowhere.paid", "relay.confirmed@x", "relay.confirmed@0"])
def test_a_setting_that_names_no_place_ends_the_process_at_once(setting: str) -> None:
    done = run(setting)
    assert done.returncode == 1
    assert not done.stdout
    assert f"FAILPOINT is '{setting}'" in done.stderr


def test_without_the_setting_there_is_nothing_to_reach() -> None:
    assert failpoints.reach is failpoints._nothing
