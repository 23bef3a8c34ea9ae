"""What is measured: the project, and the floor beside it. Both run and are verified in the same way."""

import os
import shutil
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, LiteralString, Self
from urllib.error import URLError
from urllib.request import urlopen

import psycopg

from benchmarks.floor.__main__ import CREATED, PROCESSED, declare_queues
from benchmarks.floor.tables import ORDER_TABLES, PROCESSOR_TABLES
from benchmarks.ground import Ground
from dev.environment import ORDER, PROCESSOR, ROOT, SERVICES, Service
from dev.processes import free_port, spawn
from tests.broker import Broker
from tests.programs import BIN, Program, service_of
from tests.system import Places, System
from tests.waiting import eventually

WITHIN = 1800.0
"""Seconds after which a run is given up."""
WEB_WORKERS, WEB_THREADS = 2, 8
"""The defaults, used for both systems."""
ROLES = {"web": "web", "relay": "relays", "consume": "consumers"}
"""What their processes are called in names and in figures."""


class BenchmarkError(Exception):
    """A system did not do what it promises, so no figure is worth anything."""


class Stack(ABC):
    """One system on places of its own, started by `start`. Its processes have the names of the project's."""

    name: str
    tables: Mapping[str, LiteralString]
    """The names of its tables of orders, records and outbox messages."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.broker = Broker(places.rabbitmq, places.management)
        self._databases = [
            psycopg.connect(url, autocommit=True) for url in (places.order_database, places.processor_database)
        ]

    @property
    @abstractmethod
    def programs(self) -> Mapping[str, Program]:
        """All processes that were ever started."""

    @property
    @abstractmethod
    def port(self) -> int:
        """The port on which it takes orders."""

    @abstractmethod
    def start(self, *names: str, **changes: str) -> None:
        """Starts these (all if none is named) with these changes to their environment. Returns when HTTP answers."""

    @abstractmethod
    def start_more(self, name: str, number: int) -> None:
        """Starts `number` more of a relay or consumer that runs already."""

    @abstractmethod
    def close(self) -> None:
        """Ends whatever still runs."""
        for database in self._databases:
            database.close()

    def stop(self, *names: str) -> None:
        """Stops them by SIGTERM. Raises BenchmarkError for one that does not end with 0."""
        for name in names:
            ended = self.programs[name].stop()
            if ended.code != 0:
                raise BenchmarkError(f"{self.name}: {name} left with {ended.code}: {ended.said[-2000:]}")

    def roles(self) -> dict[str, list[int]]:
        pids: dict[str, list[int]] = {role: [] for role in ROLES.values()}
        for name, program in self.programs.items():
            if program.pid is not None:
                pids[ROLES[name.split("-")[1]]].append(program.pid)
        return pids

    def query(self, service: Service, statement: LiteralString) -> list[tuple[Any, ...]]:
        """The rows from this service's database. `{orders}`, `{records}` and `{outbox}` stand for its tables."""
        return self._databases[service is not ORDER].execute(statement.format(**self.tables)).fetchall()

    def execute(self, service: Service, statement: LiteralString) -> None:
        self._databases[service is not ORDER].execute(statement)

    def wait(self, look: Callable[[], object], what: str) -> None:
        """Waits for it. Raises BenchmarkError when it never comes, or when a process ends by itself."""

        def look_at_all() -> bool:
            for program in self.programs.values():
                assert not program.ended_by_itself, program.ended_by_itself
            return bool(look())

        try:
            eventually(look_at_all, f"{self.name}: {what}", within=WITHIN)
        except AssertionError as error:
            raise BenchmarkError(str(error)) from None

    def wait_until_final(self) -> None:
        self.wait(lambda: not self.pending(), "no order is pending")

    def pending(self) -> bool:
        return bool(self.query(ORDER, "SELECT EXISTS (SELECT FROM {orders} WHERE status = 'pending')")[0][0])

    def waiting(self, service: Service) -> int:
        """How many messages are in this service's outbox."""
        return int(self.query(service, "SELECT count(*) FROM {outbox}")[0][0])

    def verify(self, *, orders: int, accepted: Iterable[str]) -> None:
        """Ends the system and raises BenchmarkError unless it has kept every promise.

        That is what `verify_orders` checks, and that queues are empty and every process ends on SIGTERM.
        """
        self.verify_orders(orders=orders, accepted=accepted)
        # What a consumer has in hand shows in its queue only once the consumer has ended.
        running = [name for name, program in self.programs.items() if program.is_running]
        self.stop(*running)
        if waiting := self.broker.waiting():
            raise BenchmarkError(f"{self.name}: messages wait in queues: {waiting}")

    def verify_orders(self, *, orders: int, accepted: Iterable[str]) -> None:
        """Raises BenchmarkError unless every order is final, with exactly one record, outboxes empty, no dead letters.

        `orders` is how many there must be, `accepted` the ids of those that were answered 201.
        """
        self.wait_until_final()
        kept = dict(self.query(ORDER, "SELECT id, status FROM {orders}"))
        records = [order_id for (order_id,) in self.query(PROCESSOR, "SELECT order_id FROM {records}")]
        if len(kept) != orders or not set(kept.values()) <= {"completed", "failed"}:
            raise BenchmarkError(f"{self.name}: {orders} orders placed; kept are {len(kept)}, as {set(kept.values())}")
        if len(records) != orders or set(records) != set(kept):
            raise BenchmarkError(f"{self.name}: {orders} orders have {len(records)} records of {len(set(records))}")
        if missing := set(accepted) - set(map(str, kept)):
            raise BenchmarkError(f"{self.name}: {len(missing)} accepted orders are not there")
        for service in SERVICES:
            self.wait(partial(self._is_empty, service), f"the outbox of {service.name} is empty")
        self._verify_more()

    def _is_empty(self, service: Service) -> bool:
        return not self.waiting(service)

    @abstractmethod
    def _verify_more(self) -> None:
        """Raises BenchmarkError for what only this system can have done wrong."""


class Project(Stack):
    """The six processes, with the settings of the system tests.

    These are the defaults, except for an open API and HTTP without TLS, like the floor's, and a shorter retry ladder.
    """

    name = "project"
    tables: Mapping[str, LiteralString] = {
        "orders": "orders_order",
        "records": "processing_processingrecord",
        "outbox": "messaging_outboxmessage",
    }

    def __init__(self, places: Places, folder: Path) -> None:
        super().__init__(places)
        self._folder = folder
        self._system = System(places, folder)

    @property
    def programs(self) -> Mapping[str, Program]:
        return self._system.programs

    @property
    def port(self) -> int:
        return int(self._system.url("order-web").rpartition(":")[2])

    def start(self, *names: str, **changes: str) -> None:
        web = {"WEB_CONCURRENCY": str(WEB_WORKERS), "WEB_THREADS": str(WEB_THREADS)}
        self._system.start(*names, **web | changes)

    def start_more(self, name: str, number: int) -> None:
        for count in range(2, number + 2):
            environment = self._system.environment(name) | {"METRICS_PORT": str(free_port())}
            program = Program(name, environment, self._folder / f"{name}-{count}.log")
            self._system.programs[f"{name}-{count}"] = program
            program.start()

    def import_orders(self, orders: list[bytes]) -> float:
        """Imports these orders by `manage.py import_orders`. Returns the seconds it took, with Python's start."""
        file = self._folder / f"{len(orders)}.ndjson"
        file.write_bytes(b"".join(order + b"\n" for order in orders))
        started = time.perf_counter()
        self._system.manage(ORDER, "import_orders", str(file))
        return time.perf_counter() - started

    def close(self) -> None:
        self._system.close()
        super().close()

    def _verify_more(self) -> None:
        for service in SERVICES:
            if letters := self.query(service, "SELECT error_type, error_message FROM messaging_deadletter LIMIT 3"):
                raise BenchmarkError(f"the {service.name} service has dead letters: {letters}")


class Floor(Stack):
    """Five processes without a framework: `benchmarks.floor`."""

    name = "floor"
    tables: Mapping[str, LiteralString] = {"orders": "orders", "records": "records", "outbox": "outbox"}

    def __init__(self, places: Places, folder: Path) -> None:
        super().__init__(places)
        self._rabbitmq = places.rabbitmq
        self._port = free_port()
        module = [sys.executable, "-m", "benchmarks.floor"]
        worker = f"--worker-class serving.gunicorn.Worker --threads {WEB_THREADS}"
        commands = {
            "order-web": [
                *(str(BIN / "gunicorn"), "benchmarks.floor.web:application", "--bind", f"127.0.0.1:{self._port}"),
                *(*worker.split(), "--keep-alive", "75", "--no-control-socket"),
            ],
            "order-relay": [*module, "relay", CREATED],
            "order-consume": [*module, "note"],
            "processor-relay": [*module, "relay", PROCESSED],
            "processor-consume": [*module, "process"],
        }
        self._folder = folder
        self._commands = commands
        self._programs = {name: _FloorProgram(name, command, places, folder) for name, command in commands.items()}

    @property
    def programs(self) -> Mapping[str, Program]:
        return self._programs

    @property
    def port(self) -> int:
        return self._port

    def start(self, *names: str, **changes: str) -> None:
        if not names:
            declare_queues(self._rabbitmq)
        for name in names or self._programs:
            self._programs[name].start({"WEB_CONCURRENCY": str(WEB_WORKERS)} | changes)
        self.wait(self._answers, "HTTP answers")

    def start_more(self, name: str, number: int) -> None:
        for count in range(2, number + 2):
            program = _FloorProgram(f"{name}-{count}", self._commands[name], self.places, self._folder)
            self._programs[program.name] = program
            program.start()

    def close(self) -> None:
        for program in self._programs.values():
            program.close()
        super().close()

    def _verify_more(self) -> None:
        """Checks the queues in which the floor's dead letters wait."""

    def _answers(self) -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{self._port}/health/live", timeout=5) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False


class _FloorProgram(Program):
    def __init__(self, name: str, command: list[str], places: Places, folder: Path) -> None:
        database = places.order_database if service_of(name) is ORDER else places.processor_database
        own = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8"}
        environment = own | {"DATABASE_URL": database, "RABBITMQ_URL": places.rabbitmq}
        super().__init__(name, environment, folder / f"floor-{name}.log")
        self._command = command

    def start(self, changes: Mapping[str, str] | None = None, *, folder: Path | None = None) -> None:
        assert not self.is_running, f"{self.name} runs already"
        with self.log.open("ab") as log:
            self._process = spawn(self._command, cwd=folder or ROOT, env={**self.env, **(changes or {})}, output=log)
        self._groups.append(self._process.pid)


STACKS = (Project.name, Floor.name)


class Stacks:
    """Makes systems on one ground. Their empty tables are made once, and then copied."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._templates: dict[str, Places] = {}
        self._kept = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.close()

    @contextmanager
    def fresh(self, name: str) -> Iterator[Stack]:
        """A system with empty tables, not started yet. It is removed afterwards."""
        make = Project if name == Project.name else Floor
        if name not in self._templates:
            self._templates[name] = self._kept.enter_context(self._ground.places())
            _create_tables(make, self._templates[name], self._ground.folder)
        with self._ground.places(self._templates[name]) as places:
            folder = Path(tempfile.mkdtemp(dir=self._ground.folder))
            stack = make(places, folder)
            try:
                yield stack
            finally:
                stack.close()
                shutil.rmtree(folder)


def _create_tables(make: type[Project | Floor], places: Places, folder: Path) -> None:
    if make is Project:
        system = System(places, folder)
        system.migrate()
        system.close()
        return
    for url, tables in ((places.order_database, ORDER_TABLES), (places.processor_database, PROCESSOR_TABLES)):
        with psycopg.connect(url) as connection:
            connection.execute(tables)
