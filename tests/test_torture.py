"""The torture's referee finds what it is there to find, and the few most telling faults cost no order."""

import signal
import subprocess
import sys
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest

import torture.faults  # noqa: F401 - registers them
from dev.environment import ROOT
from tests.system import System
from torture.fault import FAULTS
from torture.load import Load
from torture.run import TookTooLong, at_most
from torture.verdict import Findings, judge

COMPLETED = {"one": "completed", "two": "completed"}


def order(order_id: str, status: str = "completed") -> dict[str, Any]:
    return {"id": order_id, "status": status}


def record(order_id: str, outcome: str = "completed") -> dict[str, Any]:
    return {"order_id": order_id, "outcome": outcome}


def judge_two(**changes: Any) -> Findings:
    """The verdict on two orders with which all is well except for these changes."""
    well: dict[str, Any] = {
        "expected": COMPLETED,
        "orders": [order("one"), order("two")],
        "records": [record("one"), record("two")],
        "decisions": {"one": {"a"}, "two": {"b"}},
    }
    return judge(**well | changes)


def test_the_referee_finds_nothing_where_all_is_well() -> None:
    assert judge_two() == Findings()
    assert judge_two(decisions=None) == Findings()


def test_the_referee_finds_an_order_that_is_gone_and_one_that_stays_pending() -> None:
    assert judge_two(orders=[order("two")], records=[record("two")]).lost == {"one"}
    assert judge_two(orders=[order("one", "pending"), order("two")]).lost == {"one"}
    assert judge_two(records=[record("two")]).lost == {"one"}


def test_the_referee_finds_an_order_that_took_effect_twice() -> None:
    assert judge_two(decisions={"one": {"a", "c"}, "two": {"b"}}).doubled == {"one"}
    assert judge_two(records=[record("one"), record("one"), record("two")]).doubled == {"one"}
    assert judge_two(records=[record("one", "failed"), record("two")]).doubled == {"one"}


def test_the_referee_finds_an_order_that_nobody_was_told_of() -> None:
    three = {"orders": [order("one"), order("two"), order("three")], "records": [record("one"), record("two")]}
    assert judge_two(**three).doubled == {"three"}
    assert judge_two(**three, given_up=1).doubled == set()


def test_a_load_complains_of_shops_that_were_told_the_same_order_and_of_one_that_was_told_none() -> None:
    load = Load(cast(System, SimpleNamespace(url=lambda _: "http://127.0.0.1")), rate=1)
    load.accepted, load.expected = ["one", "two"], dict(COMPLETED)
    assert load.complaints() == []

    load.accepted.append("two")
    load.given_up = 1

    assert load.complaints() == [
        "1 orders were still not accepted 60 s after the last was begun",
        "1 orders were answered with the id of another",
    ]


def test_a_fault_that_takes_too_long_ends_where_an_error_of_the_network_would_be_passed_over() -> None:
    with pytest.raises(TookTooLong), at_most(60), suppress(OSError):
        signal.raise_signal(signal.SIGALRM)


def test_the_referee_complains_of_another_outcome_and_of_a_silent_one() -> None:
    wrong = judge_two(orders=[order("one", "failed"), order("two")], records=[record("one", "failed"), record("two")])
    assert "instead of completed" in wrong.complaints[0]
    assert "never announced" in judge_two(decisions={"one": {"a"}}).complaints[0]


def test_the_most_telling_faults_lose_nothing_and_what_is_taken_away_is_noticed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "torture", "--short", "--control"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    names = [name for name, fault in FAULTS.items() if fault.short]
    assert names
    for name in names:
        assert f"\n{name} " in done.stdout
    assert "not run" not in done.stdout
    assert "control: the messages of" in done.stdout
