import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from messaging import health
from messaging.circuit import Circuit
from messaging.conf import MessagingConfig
from messaging.consumer import Consumer
from messaging.errors import BrokerUnavailableError
from messaging.heartbeat import Heartbeat
from messaging.models import OutboxMessage, Process
from messaging.relay import Relay
from messaging.stopping import Stop
from messaging.tests.conftest import Broker, Running, eventually
from messaging.tests.handlers import Recorder
from messaging.tests.test_relay import add

pytestmark = pytest.mark.django_db(transaction=True)


def relay_heartbeat() -> Heartbeat:
    return Heartbeat("relay", Circuit("broker", Stop()))


def test_a_beat_that_is_not_due_writes_nothing(django_assert_num_queries: Any) -> None:
    heartbeat = relay_heartbeat()
    heartbeat.beat()
    heartbeat._circuit.failed(BrokerUnavailableError())
    with django_assert_num_queries(0):
        heartbeat.beat()
    assert Process.objects.get().circuit == ""


def test_it_tells_of_progress_and_of_the_rate_while_there_was_work() -> None:
    heartbeat = relay_heartbeat()
    heartbeat.beat()
    assert Process.objects.get().progressed_at is None
    heartbeat.progress(100, 2.0)
    heartbeat.progress(100, 2.0)
    heartbeat._due = 0
    heartbeat.beat()
    worked = Process.objects.get()
    assert worked.rate == 50
    assert worked.progressed_at is not None
    heartbeat.progress(0, 1.0)
    heartbeat._due = 0
    heartbeat.beat()
    idle = Process.objects.get()
    assert (idle.rate, idle.progressed_at) == (50, worked.progressed_at)
    assert idle.seen_at > worked.seen_at
    heartbeat.progress(100, 1.0)
    heartbeat._due = 0
    heartbeat.beat()
    assert Process.objects.get().rate == 100
    heartbeat.progress(1, 0.0)  # by a clock that is too coarse to see it
    heartbeat._due = 0
    heartbeat.beat()
    assert Process.objects.get().rate == 100


def test_a_process_takes_its_row_with_it_and_those_that_nobody_has_seen_for_long() -> None:
    Process.objects.create(name="relay gone:1", role="relay", seen_at=timezone.now() - timedelta(hours=2))
    Process.objects.create(name="relay killed:2", role="relay", seen_at=timezone.now() - timedelta(minutes=2))
    heartbeat = relay_heartbeat()
    Process.objects.create(name=heartbeat._name, role="relay", rate=50, progressed_at=timezone.now())
    heartbeat.beat()
    assert set(Process.objects.values_list("name", flat=True)) == {heartbeat._name, "relay killed:2"}
    assert Process.objects.get(name=heartbeat._name).progressed_at is None
    heartbeat.end()
    assert [process.name for process in Process.objects.all()] == ["relay killed:2"]


def test_it_leaves_in_order_while_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    heartbeat = relay_heartbeat()
    heartbeat.beat()
    with monkeypatch.context() as away:
        away.setitem(connection.settings_dict, "PORT", 1)
        connection.close()
        heartbeat.end()
    assert Process.objects.get().name == heartbeat._name


def test_it_counts_the_others_that_are_there() -> None:
    names = {"relay there:1": 1, "relay there:2": 14, "relay gone:3": 16, "consume there:4": 1}
    for name, age in names.items():
        seen_at = timezone.now() - timedelta(seconds=age)
        Process.objects.create(name=name, role=name.split()[0], seen_at=seen_at)
    heartbeat = relay_heartbeat()
    heartbeat.beat()
    assert heartbeat.others == 2
    heartbeat._due = 0
    heartbeat.beat()
    assert heartbeat.others == 2, "it is none of them"


def test_those_that_start_together_know_of_each_other_after_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    first, second = relay_heartbeat(), relay_heartbeat()
    second._name += "0"  # both are of this process
    first.beat()
    second.beat()
    assert (first.others, second.others) == (0, 1)
    now += 1
    first.beat()
    assert first.others == 1


def test_running_relays_and_consumers_are_seen_and_leave_no_row(
    broker: Broker, recorder: Recorder, config: MessagingConfig
) -> None:
    assert health.relay()["status"] == health.consume()["status"] == "warning"
    stop = Stop()
    relay = Running(Relay(config, stop).run, stop.request)
    consumer = Running(Consumer(config, stop).run, stop.request)
    eventually(lambda: Process.objects.count() == 2)
    for report in (health.relay(), health.consume()):
        assert "status" not in report
        [process] = report["processes"]
        assert process["circuit"] == "closed"
    relay.stop()
    consumer.stop()
    assert not Process.objects.exists()


def test_running_relays_and_consumers_tell_of_their_progress(
    broker: Broker, recorder: Recorder, config: MessagingConfig, request: pytest.FixtureRequest
) -> None:
    add()
    stop = Stop()
    for run in (Relay(config, stop).run, Consumer(config, stop).run):
        request.addfinalizer(Running(run, stop.request).stop)
    eventually(lambda: Process.objects.filter(progressed_at__isnull=False, rate__gt=0).count() == 2)


def test_a_consumer_that_finds_no_broker_says_so_and_that_it_lives(config: MessagingConfig, recorder: Recorder) -> None:
    stop = Stop()
    consumer = Running(Consumer(replace(config, url="amqp://guest:guest@127.0.0.1:1/"), stop).run, stop.request)
    try:
        eventually(lambda: Process.objects.filter(role="consume").exists())
        Process.objects.update(seen_at=timezone.now() - timedelta(hours=1))
        eventually(lambda: health.consume().get("processes"), within=30)
        assert [process["circuit"] for process in health.consume()["processes"]] == ["open: the broker is away"]
    finally:
        consumer.stop()


def test_a_relay_that_finds_no_broker_says_so_too(config: MessagingConfig) -> None:
    stop = Stop()
    relay = Running(Relay(replace(config, url="amqp://guest:guest@127.0.0.1:1/"), stop).run, stop.request)
    try:
        eventually(lambda: Process.objects.filter(role="relay").exists())
        eventually(lambda: health.relay()["processes"][0]["circuit"] == "open: the broker is away")
    finally:
        relay.stop()


def test_health_warns_of_a_process_that_waits_and_of_none_that_is_alive() -> None:
    Process.objects.create(name="relay a:1", role="relay", circuit="broker")
    Process.objects.create(name="relay b:2", role="relay")
    Process.objects.create(name="consume c:3", role="consume", seen_at=timezone.now() - timedelta(minutes=2))
    relay = health.relay()
    assert relay["status"] == "warning"
    assert relay["detail"] == "1 of 2 wait for something that is away."
    assert [process["circuit"] for process in relay["processes"]] == ["open: the broker is away", "closed"]
    assert health.consume() == {
        "status": "warning",
        "detail": "No consume was seen within 60 seconds.",
        "processes": [],
    }


def test_a_process_that_died_before_the_clock_was_set_back_does_not_count_as_alive() -> None:
    gone = Process.objects.create(name="relay a:1", role="relay", seen_at=timezone.now() + timedelta(minutes=2))
    assert not Process.objects.alive().exists()
    assert not gone.is_alive


def test_health_shows_how_long_the_oldest_message_waits() -> None:
    assert health.outbox() == {"waiting": 0, "oldest_age_seconds": 0.0}
    add(2)
    young = health.outbox()
    assert young["waiting"] == 2
    assert "status" not in young
    OutboxMessage.objects.update(created_at=timezone.now() - timedelta(minutes=2))
    old = health.outbox()
    assert old["status"] == "warning"
    assert 120 <= old["oldest_age_seconds"] < 130
