"""The PostgreSQL and the RabbitMQ that everything is measured on, one system after the other."""

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import psycopg
from psycopg import sql

from dev.environment import SERVICES
from dev.servers import PostgreSQL, RabbitMQ, temporary_folder
from dev.servers.rabbitmq import manage
from tests.system import Places


class Ground:
    """Two servers in a folder of their own. Each system gets fresh databases and a fresh virtual host on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.postgresql = PostgreSQL(folder / "postgresql")
        self.rabbitmq = RabbitMQ(folder / "rabbitmq")
        self._given = 0

    def start(self) -> None:
        for server in (self.postgresql, self.rabbitmq):
            server.launch()
        for server in (self.postgresql, self.rabbitmq):
            server.wait()

    def stop(self) -> None:
        self.rabbitmq.discard()  # RabbitMQ takes six seconds to end in order
        self.postgresql.discard()

    @contextmanager
    def places(self, template: Places | None = None) -> Iterator[Places]:
        """Places for one system, removed afterwards. The databases are copies of the template's; without one, empty."""
        self._given += 1
        vhost = f"benchmark-{self._given}"
        names = [f"{service.name}-{self._given}" for service in SERVICES]
        copied = (
            [url.rpartition("/")[2] for url in (template.order_database, template.processor_database)]
            if template
            else ["template1"] * 2
        )
        try:
            for name, of in zip(names, copied, strict=True):
                self.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(of)))
            order_database, processor_database = map(self.postgresql.database_url, names)
            url = self.rabbitmq.create_vhost(vhost)
            yield Places(order_database, processor_database, url, self.rabbitmq.management_url)
        finally:
            if self.rabbitmq.is_running():
                self.rabbitmq.delete_vhost(vhost)
            if self.postgresql.is_running():
                for name in names:
                    self.postgresql.drop_database(name)

    def settle(self) -> None:
        """Writes to disk what earlier runs have left to write."""
        self.execute(sql.SQL("CHECKPOINT"))

    def execute(self, statement: sql.SQL | sql.Composed) -> None:
        with psycopg.connect(self.postgresql.url, autocommit=True) as connection:
            connection.execute(statement)

    def pids(self) -> dict[str, list[int]]:
        return {
            server.name: [server.process.pid] if server.process else [] for server in (self.postgresql, self.rabbitmq)
        }

    def machine(self) -> dict[str, str]:
        """Where it was measured, and on what."""
        model = platform.machine()
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
        with psycopg.connect(self.postgresql.url) as connection:
            row = connection.execute("SHOW server_version").fetchone()
        overview = json.loads(manage(self.rabbitmq.management_url, "GET", "/api/overview"))
        return {
            "CPUs": f"{os.cpu_count()} × {model}",
            "Python": platform.python_version(),
            "PostgreSQL": str(row[0]).split()[0] if row else "?",
            "RabbitMQ": str(overview["rabbitmq_version"]),
            **{package: version(package) for package in ("Django", "psycopg", "pika", "gunicorn")},
        }


@contextmanager
def ground() -> Iterator[Ground]:
    """A running ground. Its servers and its folder are removed afterwards."""
    with temporary_folder() as folder:
        there = Ground(folder)
        try:
            there.start()
            yield there
        finally:
            there.stop()
