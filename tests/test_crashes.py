"""Processes that are killed, and processes that are asked to leave, with orders in flight."""

import signal
from functools import partial
from pathlib import Path

import pytest

from tests.load import Load, assert_all_took_effect_once
from tests.programs import NAMES, Program
from tests.system import System

ORDERS = 200
IN_FLIGHT = 50
"""So many are accepted when it happens; the rest are posted meanwhile and after it."""
LEAVES_WITHIN = 10.0
"""Seconds: the promise to whoever stops a process."""


@pytest.mark.parametrize("name", NAMES)
def test_kill_9_loses_no_order_and_processes_none_twice(system: System, name: str) -> None:
    with system.broker.tap() as tap, Load(system, orders=ORDERS) as load:
        load.wait_until_accepted(IN_FLIGHT)
        system.kill(name)
        system.start(name)
        load.finish()

        assert_all_took_effect_once(system, load, tap)


@pytest.mark.parametrize("name", NAMES)
def test_sigterm_under_load_leaves_in_time_and_loses_nothing(system: System, name: str) -> None:
    with system.broker.tap() as tap, Load(system, orders=ORDERS) as load:
        load.wait_until_accepted(IN_FLIGHT)
        ended = system.stop(name)
        system.start(name)
        load.finish()

        assert ended.code == 0
        assert ended.seconds < LEAVES_WITHIN
        assert "Traceback" not in ended.said
        assert_all_took_effect_once(system, load, tap)


@pytest.mark.parametrize("name", NAMES)
def test_ctrl_c_leaves_in_time_too(system: System, name: str) -> None:
    ended = system.programs[name].stop(by=signal.SIGINT)

    assert ended.code == 0
    assert ended.seconds < LEAVES_WITHIN
    assert "Traceback" not in ended.said


def test_of_several_relays_and_consumers_one_may_be_killed(system: System, tmp_path: Path) -> None:
    names = [name for name in NAMES if not name.endswith("-web")]
    others = [
        Program(name, {**system.environment(name), "METRICS_PORT": "0"}, tmp_path / f"{name}.log") for name in names
    ]
    try:
        for other in others:
            other.start()
        for other in others:
            system.wait(partial(other.lines, message="started"), f"another {other.name} runs")
        with system.broker.tap() as tap, Load(system, orders=ORDERS) as load:
            load.wait_until_accepted(IN_FLIGHT)
            for other in others:
                other.kill()
            load.finish()

            assert_all_took_effect_once(system, load, tap)
    finally:
        for other in others:
            other.close()


def test_sigterm_does_not_wait_for_a_handler_that_takes_too_long(system: System) -> None:
    system.restart("processor-consume", SIMULATED_LATENCY_MS="60000")
    order = system.post_order()
    consume = system.programs["processor-consume"]
    system.wait(lambda: not system.broker.waiting(), "the order is in the consumer's hands")

    ended = consume.stop()

    assert ended.code == 0
    assert ended.seconds < LEAVES_WITHIN
    assert system.record(order["id"]) is None
    system.start("processor-consume")
    system.wait_for_status(order["id"], "completed")
    record = system.wait_for_record(order["id"])
    assert record["attempts"] == 1  # the order was not at fault
