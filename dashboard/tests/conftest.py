"""Rows for the test pipeline, and a stand-in for the broker."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from dashboard.broker import Depths
from dashboard.tests.pipelines import TABLE
from messaging.conf import config
from messaging.depth import QueueDepth
from messaging.topology_diff import Difference

NOW = datetime(2026, 6, 15, 12, 0, 30, tzinfo=UTC)


@pytest.fixture
def make(db: None) -> Callable[..., None]:
    """Makes things: `make("done", at=..., took=..., number=...)`, just now unless told otherwise."""
    with connection.cursor() as cursor:
        cursor.execute(TABLE)

    def put(
        status: str = "done",
        *,
        at: datetime | None = None,
        took: float | None = None,
        waited: float | None = None,
        number: int = 1,
    ) -> None:
        intervals = [None if time is None else str(timedelta(seconds=time)) for time in (took, waited)]
        with connection.cursor() as cursor:
            cursor.execute(
                """INSERT INTO dashboard_test_thing
                   SELECT coalesce((SELECT max(id) FROM dashboard_test_thing), 0) + n, %s, %s,
                          %s::interval, %s::interval
                   FROM generate_series(1, %s) AS n""",
                (status, at or timezone.now(), *intervals, number),
            )

    return put


class Said[T]:
    """Stands in for a `dashboard.broker.Asker`."""

    def __init__(self, answer: T) -> None:
        self.its_answer = answer

    def ask(self) -> None:
        pass

    def answer(self) -> T:
        return self.its_answer


class Broker:
    """What the pages are told about the broker."""

    def __init__(self) -> None:
        self.depths = Said(Depths())
        self.dangers: Said[tuple[Difference, ...]] = Said(())
        queue = config().queue
        rungs = [QueueDepth(f"{queue}.retry.{delay}", 0, 0) for delay in config().retry_delays]
        self.says(QueueDepth(queue, 0, 1), *rungs, QueueDepth(f"{queue}.dlq", 0, 1))

    def says(self, *depths: QueueDepth) -> None:
        self.depths.its_answer = Depths(queues=depths)

    def is_away(self) -> None:
        self.depths.its_answer = Depths(error="RabbitMQ cannot be reached: Connection refused")

    def endangers(self, *dangers: Difference) -> None:
        self.dangers.its_answer = dangers


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    broker = Broker()
    monkeypatch.setattr("dashboard.broker.depths", broker.depths)
    monkeypatch.setattr("dashboard.broker.dangers", broker.dangers)
    return broker


@pytest.fixture
def processes(db: None) -> None:
    """A relay and a consumer that are alive."""
    from messaging.models import Process  # not before Django is set up

    for role in ("relay", "consume"):
        Process.objects.create(name=f"{role} host:1", role=role)
