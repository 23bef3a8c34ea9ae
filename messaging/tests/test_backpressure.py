import logging
import math
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from messaging import backpressure
from messaging.models import OutboxMessage, Process
from messaging.tests.test_relay import add

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def looking_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backpressure, "_looked_at", -math.inf)
    monkeypatch.setattr(backpressure, "_pressure", None)


@pytest.fixture
def mode(settings: Any) -> Any:
    def choose(name: str) -> None:
        settings.MESSAGING = settings.MESSAGING | {"BACKPRESSURE": name, "OUTBOX_MAX_AGE": 60}

    return choose


def overdue(count: int, *, minutes: int = 2) -> None:
    add(count)
    OutboxMessage.objects.update(available_at=timezone.now() - timedelta(minutes=minutes))


def test_there_is_none_while_the_outbox_is_young(mode: Any) -> None:
    mode("refuse")
    assert backpressure.refusing() is None
    backpressure._looked_at = -math.inf
    add(3)
    assert backpressure.refusing() is None


def test_the_time_to_come_back_is_the_backlog_by_the_rate_of_all_relays(mode: Any) -> None:
    mode("refuse")
    overdue(90)
    Process.objects.create(name="relay a:1", role="relay", rate=2.5)
    Process.objects.create(name="relay b:2", role="relay", rate=2.0)
    Process.objects.create(name="consume c:3", role="consume", rate=1000.0)
    pressure = backpressure.refusing()
    assert pressure is not None
    assert (pressure.waiting, pressure.retry_after) == (90, 20)
    assert 120 <= pressure.overdue < 130


def test_what_is_due_for_longest_counts(mode: Any) -> None:
    mode("refuse")
    overdue(1)
    add(1)
    OutboxMessage.objects.filter(pk__gt=OutboxMessage.objects.earliest("pk").pk).update(
        available_at=timezone.now() - timedelta(minutes=10)
    )
    pressure = backpressure.refusing()
    assert pressure is not None
    assert pressure.overdue >= 600


def test_relays_that_were_killed_do_not_count_unless_all_were(mode: Any) -> None:
    mode("refuse")
    overdue(90)
    Process.objects.create(name="relay a:1", role="relay", rate=3.0)
    for number, minutes in enumerate((5, 4, 3)):
        seen_at = timezone.now() - timedelta(minutes=minutes)
        Process.objects.create(name=f"relay killed:{number}", role="relay", rate=9.0 * minutes, seen_at=seen_at)
    pressure = backpressure.refusing()
    assert pressure is not None
    assert pressure.retry_after == 30
    Process.objects.filter(name="relay a:1").delete()
    backpressure._looked_at = -math.inf
    pressure = backpressure.refusing()
    assert pressure is not None
    assert pressure.retry_after == 4, "as fast as the last of them was"


@pytest.mark.parametrize(("rate", "seconds"), [(None, 60), (0.001, 300), (100_000.0, 1)])
def test_the_time_to_come_back_has_bounds(mode: Any, rate: float | None, seconds: int) -> None:
    mode("refuse")
    overdue(5)
    Process.objects.create(name="relay a:1", role="relay", rate=rate)
    pressure = backpressure.refusing()
    assert pressure is not None
    assert pressure.retry_after == seconds


def test_a_message_that_the_broker_refuses_is_no_pressure(mode: Any) -> None:
    mode("refuse")
    overdue(1)
    OutboxMessage.objects.update(
        created_at=timezone.now() - timedelta(hours=1), attempts=9, available_at=timezone.now() + timedelta(minutes=4)
    )
    assert backpressure.refusing() is None


def test_to_warn_is_two_lines_and_refuses_nothing(mode: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="messaging.backpressure")
    mode("warn")
    overdue(1)
    for _ in range(3):
        assert backpressure.refusing() is None
        backpressure._looked_at = -math.inf
    OutboxMessage.objects.all().delete()
    assert backpressure.refusing() is None
    assert caplog.messages == [
        "back-pressure: the outbox is not being emptied",
        "no more back-pressure: the outbox is being emptied",
    ]


def test_a_process_looks_at_most_once_a_second(mode: Any, django_assert_num_queries: Any) -> None:
    mode("refuse")
    with django_assert_num_queries(1):
        backpressure.refusing()
        backpressure.refusing()


def test_off_asks_nobody(mode: Any, django_assert_num_queries: Any) -> None:
    mode("off")
    overdue(1)
    with django_assert_num_queries(0):
        assert backpressure.refusing() is None
