"""Health checks and a metrics collector that behave as a test wants."""

import threading
from collections.abc import Iterator
from typing import Any, ClassVar

from django.db import connection
from prometheus_client.core import GaugeMetricFamily


def fine() -> dict[str, Any]:
    return {"version": "7"}


def broken() -> dict[str, Any]:
    raise ConnectionError("amqp://user:secret@broker:5672/ refused, password=secret too\nand a second line")


def silent() -> dict[str, Any]:
    raise ConnectionError


class Hanging:
    """A check that hangs until it is let go."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.calls = 0

    def __call__(self) -> dict[str, Any]:
        self.calls += 1
        self.released.wait()
        return {}


hanging = Hanging()


class Apples:
    """A collector that works."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield GaugeMetricFamily("apples", "How many apples.", value=3)


class Rotten:
    """A collector that fails half way."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield GaugeMetricFamily("half_an_apple", "Never seen.", value=1)
        raise ConnectionError("the orchard is away")


class Database:
    """A check and a collector that uses this thread's database connection, and remembers it."""

    used: ClassVar[list[Any]] = []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 7")
            yield GaugeMetricFamily("seven", "Seven.", value=cursor.fetchone()[0])
        self.used.append(connection.connection)


def database() -> dict[str, Any]:
    return {"metrics": len(list(Database().collect()))}
