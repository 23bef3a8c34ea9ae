"""Where the faults happen: servers that can be stopped, the six processes, and orders that are being posted."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import psycopg

from dev.environment import ORDER, Service
from dev.servers import Cluster, PostgreSQL, RabbitMQ, temporary_folder
from tests.broker import Broker, Tap
from tests.programs import Ended
from tests.proxy import Proxy
from tests.system import Places, System
from torture.load import Load
from torture.watch import cpu_share

KILLED = -9
LAST_LINES, LINE_LENGTH = 5, 500
"""How much is shown of the output of a process that should not have ended."""
_WITH_LOAD = 5.0
"""For at most this many seconds of a held fault orders are posted; after that nothing has a reason to work."""
_SETTLING = 1.0
_MEASURED_FROM = 5.0


class BrokerServer(Protocol):
    """A RabbitMQ, or a cluster of them."""

    @property
    def url(self) -> str:
        """One URL for each node, as RABBITMQ_URL takes them."""

    @property
    def management_url(self) -> str: ...

    def start(self) -> None:
        """Starts the parts that do not run, and waits until they answer."""

    def stop(self) -> None: ...

    def discard(self) -> None:
        """Ends all of it at once, for when its data is thrown away too."""

    def is_running(self) -> bool:
        """Whether all of it runs."""


BROKERS: dict[str, Callable[[Path], Any]] = {"single": RabbitMQ, "cluster": Cluster}
"""How each kind of arena makes its `BrokerServer`, in a folder of its own."""


class Arena:
    """One system on servers of its own, to which many faults happen, one after the other.

    Its processes reach the broker through `broker_proxies`, one for each node; the referee and the faults directly.
    """

    load: Load
    """The orders that are being posted while a fault runs."""
    tap: Tap | None
    """Reads along on the exchange; None for a fault without it."""
    random: random.Random
    """Seeded for each fault, so that a fault always makes the same choices."""

    def __init__(self, kind: str, folder: Path, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.say = say
        self.order_database = PostgreSQL(folder / "order")
        self.processor_database = PostgreSQL(folder / "processor")
        # Any: a fault knows which kind of broker it runs on, and uses what that can do.
        self.broker: Any = BROKERS[kind](folder / "broker")
        self.broker_proxies: list[Proxy] = []
        self.cpu: dict[str, float] = {}
        """For each relay and consumer, the largest share of a core that it has taken while a fault was held."""
        self.blamed: set[str] = set()
        """Orders that the ledger has found wrong so far."""
        self.forged: set[str] = set()
        """Ids of messages that a fault has published itself, in the processor's name."""

    def open(self) -> None:
        """Starts everything. Returns when an order has gone all the way."""
        for database in (self.order_database, self.processor_database):
            database.launch()
        self.broker.start()
        for database in (self.order_database, self.processor_database):
            database.wait()
        self.system = System(
            Places(
                order_database=self.order_database.url,
                processor_database=self.processor_database.url,
                rabbitmq=",".join(map(self._behind_a_proxy, self.broker.url.split(","))),
                management=self.broker.management_url,
            ),
            self.folder,
        )
        self.system.broker = Broker(self.broker.url, self.broker.management_url)
        self.system.migrate()
        self.system.start()
        self.system.wait_for_status(self.system.post_order()["id"], "completed")

    def _behind_a_proxy(self, url: str) -> str:
        server = urlsplit(url)
        assert server.hostname
        assert server.port
        proxy = Proxy((server.hostname, server.port), cut_after=None)
        self.broker_proxies.append(proxy)
        return server._replace(netloc=f"{server.username}:{server.password}@127.0.0.1:{proxy.port}").geturl()

    def close(self) -> None:
        if hasattr(self, "system"):
            self.system.close()
        for proxy in self.broker_proxies:
            proxy.close()
        self.broker.discard()  # not stop(): RabbitMQ takes six seconds to end in order
        self.order_database.discard()
        self.processor_database.discard()

    def heal(self) -> list[str]:
        """Brings back what a fault has left broken, and says what that was."""
        broken = []
        for what, server in self._servers().items():
            if not server.is_running():
                broken.append(f"{what} did not run")
                server.start()
        for name, program in self.system.programs.items():
            if not program.is_running:
                said = [line[:LINE_LENGTH] for line in program.text().splitlines()[-LAST_LINES:]]
                broken.append("\n".join([program.ended_by_itself or f"{name} did not run", *said]))
        self.system.heal()
        self.system.broker = Broker(self.broker.url, self.broker.management_url)
        return broken

    def _servers(self) -> dict[str, Any]:
        return {
            "the order service's database": self.order_database,
            "the processor's database": self.processor_database,
            "the broker": self.broker,
        }

    # --- What faults do

    def hold(self, seconds: float) -> None:
        """Keeps the fault as it is. In part of a long one there is no load, which shows the processes that spin.

        Orders are posted in the first half, for 5 seconds at most. After that no relay or consumer has anything to do
        that would succeed, and the CPU that each takes is noted.
        """
        with_load = min(_WITH_LOAD, seconds / 2) if seconds >= _MEASURED_FROM else seconds
        time.sleep(with_load)
        if with_load == seconds:
            return
        self.load.pause()
        time.sleep(_SETTLING)
        workers = {name: it for name, it in self.system.programs.items() if not name.endswith("-web")}
        for name, share in cpu_share(workers, seconds - with_load - _SETTLING).items():
            self.cpu[name] = max(share, self.cpu.get(name, 0.0))
        self.load.resume()

    def wait_for_death(self, name: str) -> Ended:
        """Waits until the process has been killed at its fail point, or by a message."""
        ended = self.system.programs[name].wait_for_end(within=60.0)
        assert ended.code == KILLED, f"{name} has left with {ended.code} instead of being killed: {ended.said[-2000:]}"
        return ended

    def database_of(self, service: Service) -> PostgreSQL:
        return self.order_database if service is ORDER else self.processor_database

    def query(self, service: Service, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Runs one statement in a service's database, behind its back, and returns the rows."""
        with psycopg.connect(self.database_of(service).url, autocommit=True, connect_timeout=10) as connection:
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def opened(kind: str, say: Callable[[str], None]) -> Iterator[Arena]:
    """An arena with everything running. It is removed with its data after the block."""
    with temporary_folder() as folder:
        arena = Arena(kind, folder, say)
        try:
            arena.open()
            yield arena
        finally:
            arena.close()
