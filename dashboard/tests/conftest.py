"""Rows for the test pipeline, and a broker that says what a test wants."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from dashboard import queues
from dashboard.tests.pipelines import TABLE
from messaging.conf import config
from messaging.depth import QueueDepth

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


class Broker:
    """What the pages are told of it."""

    def __init__(self) -> None:
        queue = config().queue
        names = (queue, *(f"{queue}.retry.{delay}" for delay in config().retry_delays), f"{queue}.dlq")
        self.says(*(QueueDepth(name, 0, 1) for name in names))

    def says(self, *depths: QueueDepth) -> None:
        self.answer_with = queues.Answer(queues=depths)

    def is_away(self) -> None:
        self.answer_with = queues.Answer(error="RabbitMQ cannot be reached: Connection refused")

    def ask(self) -> None:
        pass

    def answer(self) -> queues.Answer:
        return self.answer_with


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    broker = Broker()
    monkeypatch.setattr(queues, "asker", broker)
    return broker


@pytest.fixture
def processes(db: None) -> None:
    """A relay and a consumer that live."""
    from messaging.models import Process  # not before Django is set up

    for role in ("relay", "consume"):
        Process.objects.create(name=f"{role} host:1", role=role)
