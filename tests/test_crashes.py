"""Processes that are killed, and processes that are asked to end, with orders in flight."""

import signal
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.broker import PROCESSOR_QUEUE
from tests.load import Load, assert_all_took_effect_once
from tests.programs import NAMES, Program, service_of
from tests.proxy import proxy
from tests.system import System

ORDERS = 200
IN_FLIGHT = 50
"""How many are accepted when it happens; the rest are posted meanwhile and afterwards."""
LEAVES_WITHIN = 10.0
"""Seconds within which a process that is stopped promises to end."""


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
    system.stop("processor-consume")
    order = system.post_order()
    system.wait(lambda: system.broker.waiting().get(PROCESSOR_QUEUE) == 1, "the order is in the queue")
    system.start("processor-consume", SIMULATED_LATENCY_MS="60000")
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


@pytest.mark.parametrize(
    ("name", "table"), [("order-relay", "messaging_outboxmessage"), ("processor-consume", "messaging_inboxmessage")]
)
def test_sigterm_does_not_wait_for_a_database_that_gives_no_answer(system: System, name: str, table: str) -> None:
    with psycopg.connect(system.database_of(service_of(name))) as connection:
        connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        if name == "processor-consume":
            system.post_order()
        held_up = "SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
        system.wait(lambda: connection.execute(held_up).fetchall(), f"{name} waits for its answer")

        ended = system.stop(name)

    assert ended.code == 0
    assert ended.seconds < LEAVES_WITHIN


@pytest.mark.parametrize("said", [2, 3], ids=["while logging in", "while entering the virtual host"])
def test_a_connection_that_breaks_during_the_handshake_is_no_wrong_password(system: System, said: int) -> None:
    broker = urlsplit(system.places.rabbitmq)
    assert broker.hostname
    assert broker.port
    with proxy(broker.hostname, broker.port, cut_after=said) as way:
        url = broker._replace(netloc=f"{broker.username}:{broker.password}@127.0.0.1:{way.port}").geturl()
        for name in ("order-relay", "processor-consume"):
            system.restart(name, RABBITMQ_URL=url)
        order = system.post_order()
        for name in ("order-relay", "processor-consume"):
            # Fails when one of them ends.
            system.wait(partial(system.programs[name].lines, level="WARNING"), f"{name} says that it waits")
        system.wait(lambda: way.cuts >= 4, "they have tried again")
        assert system.order(order["id"])["status"] == "pending"

        way.cut_after = None

        system.wait_for_status(order["id"], "completed")
        system.heal()
