"""A process that can never work as configured says so in one sentence, and ends."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from dev.environment import PROCESSOR, SERVICES, Service
from tests.broker import EXCHANGE, PROCESSOR_QUEUE
from tests.events import order_created
from tests.programs import NAMES, Ended, Program, service_of
from tests.system import System

ENDS_WITHIN = 60.0
WORK_QUEUE = {
    "x-queue-type": "quorum",
    "x-dead-letter-exchange": "orders.dlx",
    "x-dead-letter-routing-key": PROCESSOR_QUEUE,
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
    "x-delivery-limit": 20,
}
BROKERS_CLIENTS = [name for name in NAMES if not name.endswith("-web")]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Service, Path]:
    """Copies of the services' folders without a developer's `.env`, which would set what must be missing."""
    copies = tmp_path_factory.mktemp("folders")
    return {
        service: shutil.copytree(
            service.folder, copies / service.package, ignore=shutil.ignore_patterns(".env", "tests", "__pycache__")
        )
        for service in SERVICES
    }


@pytest.fixture
def run_to_end(the_system: System, tmp_path: Path) -> Iterator["RunToEnd"]:
    runs = RunToEnd(the_system, tmp_path)
    yield runs
    runs.close()


class RunToEnd:
    """Starts a second process of the system, with a changed environment, and waits for its end."""

    def __init__(self, system: System, folder: Path) -> None:
        self._system = system
        self._folder = folder
        self._programs: list[Program] = []

    def __call__(self, name: str, *, without: str = "", folder: Path | None = None, **changes: str) -> Ended:
        env = {key: value for key, value in self._system.environment(name).items() if key != without}
        # Ports of its own, so that it ends for the reason under test and not because of a port.
        env |= {"PORT": "0", "METRICS_PORT": "0"}
        program = Program(name, env | changes, self._folder / f"{name}.log")
        self._programs.append(program)
        program.start(folder=folder)
        return program.wait_for_end(ENDS_WITHIN)

    def close(self) -> None:
        for program in self._programs:
            program.close()


def assert_it_says_in_one_sentence(ended: Ended, *words: str) -> None:
    assert ended.code != 0
    assert "Traceback" not in ended.said
    sentences = [line for line in ended.said.splitlines() if all(word in line for word in words)]
    assert len(sentences) == 1, ended.said


@pytest.mark.parametrize("variable", ["DATABASE_URL", "RABBITMQ_URL", "SECRET_KEY", "ALLOWED_HOSTS"])
@pytest.mark.parametrize("name", ["order-web", "order-consume", "processor-web", "processor-relay"])
def test_a_missing_variable_is_named(
    run_to_end: RunToEnd, folders: dict[Service, Path], name: str, variable: str
) -> None:
    ended = run_to_end(name, without=variable, folder=folders[service_of(name)])

    assert_it_says_in_one_sentence(ended, variable, "is not set")


@pytest.mark.parametrize(("variable", "value"), [("PORT", "99999"), ("WEB_THREADS", "0"), ("WEB_CONCURRENCY", "0")])
def test_a_number_that_gunicorn_cannot_use_is_named(run_to_end: RunToEnd, variable: str, value: str) -> None:
    changes: dict[str, Any] = {variable: value}
    ended = run_to_end("order-web", **changes)

    assert_it_says_in_one_sentence(ended, variable, "is malformed")


@pytest.mark.parametrize("name", BROKERS_CLIENTS)
def test_a_port_for_metrics_that_is_taken_is_named(run_to_end: RunToEnd, name: str) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run_to_end(name, METRICS_PORT=str(port))

    assert_it_says_in_one_sentence(ended, f"METRICS_PORT {port}", "cannot be listened on")


@pytest.mark.parametrize("name", BROKERS_CLIENTS)
def test_a_wrong_password_of_the_broker_is_said(the_system: System, run_to_end: RunToEnd, name: str) -> None:
    ended = run_to_end(name, RABBITMQ_URL=_with_wrong_password(the_system.places.rabbitmq))

    assert_it_says_in_one_sentence(ended, "RabbitMQ", "RABBITMQ_URL", "password")
    assert "wrong-password" not in ended.said


@pytest.mark.parametrize("name", BROKERS_CLIENTS)
def test_a_virtual_host_that_is_not_there_is_said(the_system: System, run_to_end: RunToEnd, name: str) -> None:
    ended = run_to_end(name, RABBITMQ_URL=urlsplit(the_system.places.rabbitmq)._replace(path="/nowhere").geturl())

    assert_it_says_in_one_sentence(ended, "RabbitMQ", "RABBITMQ_URL", "virtual host")


@pytest.mark.parametrize("name", BROKERS_CLIENTS)
def test_a_wrong_password_of_the_database_is_said(the_system: System, run_to_end: RunToEnd, name: str) -> None:
    ended = run_to_end(name, DATABASE_URL=_with_wrong_password(the_system.places.order_database))

    assert_it_says_in_one_sentence(ended, "PostgreSQL", "DATABASE_URL", "password")
    assert "wrong-password" not in ended.said


@pytest.mark.parametrize("name", ["processor-relay", "processor-consume"])
def test_a_queue_with_other_arguments_is_named(bare_system: System, run_to_end: RunToEnd, name: str) -> None:
    with bare_system.broker.channel() as channel:
        channel.queue_declare(PROCESSOR_QUEUE, durable=True, arguments={**WORK_QUEUE, "x-delivery-limit": 5})

    ended = run_to_end(name, RABBITMQ_URL=bare_system.places.rabbitmq)

    assert_it_says_in_one_sentence(ended, PROCESSOR_QUEUE, "x-delivery-limit", "5", "20", "delete")


@pytest.mark.parametrize(
    ("name", "variable", "value", "reason"),
    [
        ("order-consume", "MESSAGING_RETRY_DELAYS", "soon", "'soon' is no delay"),
        ("order-relay", "MAX_ITEMS_PER_ORDER", "-7", "is -7"),
        ("order-relay", "PROCESSOR_API_URL", "processor:8001", "must be an http(s) URL"),
        ("processor-consume", "SIMULATED_FAILURE_RATE", "1.5", "is 1.5"),
        ("processor-relay", "MESSAGING_RETRY_DELAYS", "soon", "'soon' is no delay"),
    ],
)
def test_a_setting_that_cannot_work_is_named(
    run_to_end: RunToEnd, name: str, variable: str, value: str, reason: str
) -> None:
    changes: dict[str, Any] = {variable: value}
    ended = run_to_end(name, **changes)

    assert ended.code != 0
    assert "Traceback" not in ended.said
    assert variable in ended.said
    assert reason in ended.said


def test_consume_started_before_migrate_waits_and_burns_no_message(bare_system: System) -> None:
    system = bare_system
    system.start("processor-consume", "processor-relay")
    consume = system.programs["processor-consume"]
    order_id = str(uuid4())
    system.wait(lambda: PROCESSOR_QUEUE in system.broker.queues(), "the queues are declared")
    with system.broker.tap() as tap:
        system.wait(lambda: _is_bound(system), "the queue is bound")
        system.broker.publish(order_created(order_id), exchange=EXCHANGE, routing_key="order.created")
        system.wait(
            lambda: [line for line in consume.lines() if "database is away" in line["message"]],
            "the consumer says that it waits",
        )
        assert not tap.events("order.processed")

        system.migrate()

        system.wait(lambda: tap.events("order.processed", order_id), "the order is processed")
    (line,) = consume.lines(message="order processed", order_id=order_id)
    assert line["attempt"] == 1
    assert not system.dead_letters(PROCESSOR, status="all")


def _with_wrong_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.username}:wrong-password@{parts.hostname}:{parts.port}").geturl()


def _is_bound(system: System) -> bool:
    """Whether all queues are bound: the dead-letter queue, declared after the work queue, is bound last of all."""
    return f"{PROCESSOR_QUEUE}.dlq" in system.broker.bound_queues()
