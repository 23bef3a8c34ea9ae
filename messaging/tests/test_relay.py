import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from types import SimpleNamespace

import psycopg
import pytest
from django.db import OperationalError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone
from msgspec.structs import asdict
from prometheus_client import REGISTRY

from messaging import outbox
from messaging.conf import MessagingConfig
from messaging.errors import BrokerUnavailableError
from messaging.message import OutgoingMessage
from messaging.metrics import OutboxCollector
from messaging.models import FailedAttempt, OutboxMessage
from messaging.process import set_up_connection
from messaging.publisher import _Channel
from messaging.relay import Alarm, Relay, _pause
from messaging.stopping import Stop
from messaging.tests.conftest import Broker, Running, eventually, hang_up
from messaging.tests.plans import generic_plan
from messaging.tests.round_trips import round_trips
from messaging.tests.threads import BOUND, begun
from observability import context

pytestmark = pytest.mark.django_db(transaction=True)


def add(count: int = 1, **more: object) -> list[OutgoingMessage]:
    messages = [OutgoingMessage(type="thing.happened", body=b'{"n": %d}' % n, **more) for n in range(count)]  # type: ignore[arg-type]
    with transaction.atomic():
        outbox.add(messages)
    return messages


@pytest.fixture
def relay(config: MessagingConfig) -> Iterator[Relay]:
    relay = Relay(config, Stop())
    yield relay
    relay._publisher.close()


def test_what_it_claims_is_all_of_the_row() -> None:
    """So that nothing is lost of what it puts back."""
    columns = [field.attname for field in OutboxMessage._meta.concrete_fields]
    assert sorted(outbox.Claimed.__struct_fields__) == sorted(columns)
    add()
    before = OutboxMessage.objects.values(*columns).get()
    with transaction.atomic():
        [row] = outbox.claim(1)
        assert asdict(row) == before | {"message_id": str(before["message_id"])}
        outbox.put_back([row])
    assert OutboxMessage.objects.values(*columns).get() == before


def test_it_publishes_what_was_committed_and_empties_the_outbox(
    broker: Broker, relay: Relay, config: MessagingConfig
) -> None:
    with context.bind(correlation_id="request-1", traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01"):
        [message] = add()
    assert relay.publish_batch() == 1
    assert not OutboxMessage.objects.exists()
    found = broker.get(config.queue)
    assert found is not None
    properties, body = found
    assert body == b'{"n": 0}'
    assert properties.message_id == str(message.message_id)
    assert properties.type == "thing.happened"
    assert properties.app_id == "things"
    assert properties.correlation_id == "request-1"
    assert properties.content_type == "application/json"
    assert properties.delivery_mode == 2
    assert properties.timestamp is not None
    assert properties.headers["schema-version"] == 1
    assert properties.headers["traceparent"] == "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


def test_what_was_rolled_back_is_not_published(broker: Broker, relay: Relay, config: MessagingConfig) -> None:
    with transaction.atomic():
        outbox.add([OutgoingMessage(type="thing.happened", body=b"{}")])
        transaction.set_rollback(True)
    assert relay.publish_batch() == 0
    assert broker.get(config.queue, within=0.2) is None


def test_a_batch_costs_the_relay_two_round_trips_however_many_messages(broker: Broker, relay: Relay) -> None:
    relay.publish_batch()  # which prepares the statement
    add(100)

    with round_trips() as asked:
        assert relay.publish_batch() == 100

    assert asked == ["BEGIN run", "COMMIT"]


def test_the_outbox_refuses_to_write_outside_a_transaction() -> None:
    with pytest.raises(RuntimeError, match="transaction"):
        outbox.add([OutgoingMessage(type="thing.happened", body=b"{}")])
    assert not OutboxMessage.objects.exists()


def test_what_no_queue_takes_stays_with_its_reason_and_holds_back_no_other(
    broker: Broker, relay: Relay, config: MessagingConfig
) -> None:
    with transaction.atomic():
        outbox.add([OutgoingMessage(type="nobody.listens", body=b"{}")])
    add(3)
    refused = partial(REGISTRY.get_sample_value, "messaging_refused_total", {"type": "nobody.listens"})
    before = refused() or 0
    assert relay.publish_batch() == 3
    assert refused() == before + 1
    [row] = OutboxMessage.objects.all()
    assert row.type == "nobody.listens"
    assert row.attempts == 1
    assert "nobody.listens" in row.last_error
    assert row.available_at > timezone.now()
    assert relay.publish_batch() == 0, "it is not due yet"
    OutboxMessage.objects.update(available_at=timezone.now())
    relay.publish_batch()
    row.refresh_from_db()
    assert row.attempts == 2


def test_what_no_queue_takes_is_tried_later_by_the_clock_that_says_when_it_is_due(broker: Broker, relay: Relay) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        put_the_clock_of_postgresql_forward()
        outbox.add([OutgoingMessage(type="nobody.listens", body=b"{}")])

        relay.publish_batch()

        cursor.execute("SELECT attempts, available_at <= clock_timestamp() FROM messaging_outboxmessage")
        assert cursor.fetchall() == [(1, False)]
        transaction.set_rollback(True)


def put_the_clock_of_postgresql_forward() -> None:
    """By an hour, until the caller's transaction is rolled back. To the database, this process's clocks are behind."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA ahead; SET LOCAL search_path = ahead, public, pg_catalog")
        for clock in ("now", "clock_timestamp"):
            cursor.execute(
                f"CREATE FUNCTION {clock}() RETURNS timestamptz LANGUAGE sql "
                f"RETURN pg_catalog.{clock}() + interval '1 hour'"
            )


@pytest.mark.parametrize(("attempts", "seconds"), [(1, 1), (2, 2), (9, 256), (10, 300), (5000, 300)])
def test_the_pause_before_the_next_attempt_doubles_up_to_five_minutes(attempts: int, seconds: int) -> None:
    assert _pause(attempts) == timedelta(seconds=seconds)


def test_what_waits_is_told_at_a_scrape_with_the_age_of_the_oldest() -> None:
    [message] = add()
    OutboxMessage.objects.filter(message_id=message.message_id).update(created_at=timezone.now() - timedelta(hours=1))
    told = {family.name: family.samples[0].value for family in OutboxCollector().collect()}
    assert told["messaging_outbox_messages"] == 1
    assert told["messaging_outbox_oldest_age_seconds"] >= 3600
    assert told["messaging_dead_letters_waiting"] == 0


def test_many_that_no_queue_takes_hold_back_no_other_either(broker: Broker, config: MessagingConfig) -> None:
    with transaction.atomic():
        outbox.add([OutgoingMessage(type="nobody.listens", body=b"{}") for _ in range(10)])
    [last] = add()
    stop = Stop()
    # Nobody wakes it, and the poll would take an hour: it goes on because its batches are full.
    running = Running(Relay(replace(config, poll_interval=3600, batch_size=2), stop).run, stop.request)
    delivered = broker.get(config.queue)
    assert delivered is not None
    assert delivered[0].message_id == str(last.message_id)
    running.stop()


def test_a_hint_that_gets_lost_fails_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(statement: str) -> None:
        raise OperationalError("the connection is closed\nand more")

    monkeypatch.setattr(outbox, "_wakes_left", 1.0)
    monkeypatch.setattr(outbox, "execute_alone", fail)
    with caplog.at_level(logging.INFO):
        outbox.wake_relay()
    [line] = [record for record in caplog.records if record.message == "relay not woken"]
    assert vars(line)["error"] == "the connection is closed"


def test_what_the_broker_does_not_confirm_stays_as_it_was(
    broker: Broker, config: MessagingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(3)
    mute = Relay(replace(config, confirm_timeout=0.3), Stop())
    monkeypatch.setattr(_Channel, "_on_confirm", lambda *_: None)
    with pytest.raises(BrokerUnavailableError, match="does not confirm"):
        mute.publish_batch()
    assert [(row.attempts, row.last_error) for row in OutboxMessage.objects.all()] == [(0, "")] * 3


def test_a_broker_that_is_away_costs_a_message_nothing(config: MessagingConfig) -> None:
    [message] = add()
    away = Relay(replace(config, url="amqp://guest:guest@127.0.0.1:1/"), Stop())
    with pytest.raises(BrokerUnavailableError):
        away.publish_batch()
    [row] = OutboxMessage.objects.all()
    assert (row.message_id, row.attempts, row.last_error) == (message.message_id, 0, "")


def test_two_relays_do_not_publish_the_same_message(broker: Broker, relay: Relay, config: MessagingConfig) -> None:
    add(4)
    dsn = connection.get_connection_params() | {"dbname": connection.settings_dict["NAME"]}
    for django_only in ("cursor_factory", "context"):
        dsn.pop(django_only, None)
    with psycopg.connect(**dsn) as other:
        other.execute("SELECT id FROM messaging_outboxmessage ORDER BY id LIMIT 2 FOR UPDATE")
        # In a thread, so that one which waits for the other's rows fails this test instead of holding it up for ever.
        assert begun(relay.publish_batch).result(BOUND) == 2
        other.rollback()
    assert relay.publish_batch() == 2
    assert broker.count(config.queue) == 4


def test_what_has_been_due_for_longest_goes_first() -> None:
    _, second = add(2)
    OutboxMessage.objects.filter(message_id=second.message_id).update(available_at=timezone.now() - timedelta(hours=1))
    with transaction.atomic():
        assert [row.message_id for row in outbox.claim(1)] == [str(second.message_id)]


def test_a_batch_is_in_the_order_in_which_it_was_written_wherever_its_rows_lie() -> None:
    messages = add(3)
    OutboxMessage.objects.filter(message_id=messages[0].message_id).update(type=F("type"))  # now behind the others
    with transaction.atomic():
        assert [row.message_id for row in outbox.claim(3)] == [str(message.message_id) for message in messages]


def test_who_commits_often_calls_no_more_than_a_hundred_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(outbox, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(outbox, "_counted_at", clock.now)
    monkeypatch.setattr(outbox, "_wakes_left", 10.0)
    monkeypatch.setattr(outbox, "execute_alone", calls.append)
    for _ in range(50):
        outbox.wake_relay()
    assert len(calls) == 10
    clock.now += 0.0525
    for _ in range(50):
        outbox.wake_relay()
    assert len(calls) == 15
    clock.now += 3600
    for _ in range(50):
        outbox.wake_relay()
    assert len(calls) == 25


def test_running_it_wakes_up_for_each_commit(broker: Broker, config: MessagingConfig) -> None:
    stop = Stop()
    # The poll alone would take a minute: what is published now was announced by the commit.
    running = Running(Relay(replace(config, poll_interval=60), stop).run, stop.request)
    for number in range(3):
        add()
        assert broker.get(config.queue) is not None, f"message {number} was not published"
    stop.request()
    add()
    running.stop()


def test_what_was_committed_before_it_listened_is_not_left_to_the_poll() -> None:
    alarm = Alarm()
    try:
        assert alarm.wait(0)
        assert not alarm.wait(0)
    finally:
        alarm.close()


def test_after_a_call_or_a_find_it_looks_again_soon(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    found, calls = [0, 1, 0, 0], [False, False, True, False]
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        if len(waits) == len(calls):
            relay._stop.request()
        return calls[len(waits) - 1]

    monkeypatch.setattr(relay, "publish_batch", lambda: found[len(waits)])
    monkeypatch.setattr(relay._alarm, "wait", wait)
    monkeypatch.setattr(relay._publisher, "open", lambda: None)
    relay._work()
    soon, poll = 1.5 * outbox.WAKE_INTERVAL, relay._config.poll_interval
    assert waits == [soon, soon, poll, soon]


def test_it_keeps_out_of_the_way_of_a_faster_relay_but_not_for_one_call_in_vain(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [1, 0, 1, 0, 0, 0, 1, 0]
    naps: list[float] = []

    def publish_batch() -> int:
        naps.append(0.0)
        if len(naps) == len(found):
            relay._stop.request()
        return found[len(naps) - 1]

    def sleep(seconds: float) -> None:
        naps[-1] += seconds

    monkeypatch.setattr(relay, "publish_batch", publish_batch)
    monkeypatch.setattr(relay._alarm, "wait", lambda seconds: True)
    monkeypatch.setattr("messaging.relay.time.sleep", sleep)
    relay._work()
    assert naps == [0, 0, 0, 0, outbox.WAKE_INTERVAL, outbox.WAKE_INTERVAL, 0, 0]


def test_running_it_waits_for_a_database_that_comes_back(broker: Broker, config: MessagingConfig) -> None:
    stop = Stop()
    running = Running(Relay(config, stop).run, stop.request)
    add()
    assert broker.get(config.queue)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    add()
    assert broker.get(config.queue)
    running.stop()


def test_running_it_notices_the_loss_of_the_broker_although_there_is_nothing_to_publish(
    broker: Broker, config: MessagingConfig, request: pytest.FixtureRequest
) -> None:
    stop = Stop()
    relay = Relay(config, stop)
    request.addfinalizer(Running(relay.run, stop.request).stop)
    lost = eventually(lambda: relay._publisher.is_open and relay._publisher._connection)
    hang_up(lost)
    eventually(lambda: relay._publisher.is_open and relay._publisher._connection is not lost)


def who_listens() -> int:
    """The process of PostgreSQL that waits to call a relay of this database; 0 when there is none."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE %s",
            [f"%; LISTEN {outbox.CHANNEL}"],
        )
        return int(cursor.fetchone()[0])


def test_running_it_publishes_what_came_before_the_clock_of_the_database_was_set_back(
    broker: Broker, config: MessagingConfig
) -> None:
    [refused] = add()
    OutboxMessage.objects.update(available_at=Now() + timedelta(minutes=5), attempts=12)
    [early] = add()
    OutboxMessage.objects.filter(attempts=0).update(available_at=Now() + timedelta(hours=1))
    stop = Stop()
    running = Running(Relay(config, stop).run, stop.request)
    found = broker.get(config.queue)
    running.stop()
    assert found is not None
    assert found[0].message_id == str(early.message_id)
    assert OutboxMessage.objects.get().message_id == refused.message_id, "its pause is over when it is over"


def test_running_it_listens_again_when_it_has_lost_the_connection_it_listens_on(
    broker: Broker, config: MessagingConfig, request: pytest.FixtureRequest
) -> None:
    stop = Stop()
    request.addfinalizer(Running(Relay(config, stop).run, stop.request).stop)
    listener = eventually(who_listens)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [listener])
    eventually(lambda: who_listens() not in (0, listener))


def test_a_message_too_large_for_the_broker_holds_back_no_other(
    broker: Broker, relay: Relay, config: MessagingConfig
) -> None:
    headers = {"text": "x" * 200_000}  # more than a frame holds
    with transaction.atomic():
        outbox.add([OutgoingMessage(type="thing.happened", body=b"{}", headers=headers, message_id=uuid.uuid4())])
    add(2)

    def delivered() -> bool:
        with suppress(BrokerUnavailableError):
            relay.publish_batch()
        return broker.count(config.queue) >= 2

    eventually(delivered)
    [row] = OutboxMessage.objects.all()
    assert row.headers == headers | {"schema-version": 1}


def test_a_message_says_when_it_was_sent_and_not_when_it_was_sent_before(
    broker: Broker, relay: Relay, config: MessagingConfig
) -> None:
    begin = time.time_ns() // 1_000_000
    add(headers={"published-at-ms": 1})
    relay.publish_batch()
    found = broker.get(config.queue)
    assert found is not None
    assert begin <= found[0].headers["published-at-ms"] <= time.time_ns() // 1_000_000


def test_what_the_broker_returns_is_recorded_as_a_failed_attempt(broker: Broker, relay: Relay) -> None:
    with transaction.atomic():
        outbox.add([OutgoingMessage(type="nobody.listens", body=b'{"thing": "t-1"}', correlation_id="request-1")])
    add(3)
    relay.publish_batch()
    OutboxMessage.objects.update(available_at=timezone.now())
    relay.publish_batch()
    row = OutboxMessage.objects.get()
    first, second = FailedAttempt.objects.order_by("id")
    assert (first.step, first.message_id, first.type) == ("publish", row.message_id, "nobody.listens")
    assert (first.subject, first.correlation_id) == ("t-1", "request-1")
    assert "nobody.listens" in first.error_message
    assert [(one.attempt, one.retry_in) for one in (first, second)] == [(1, "1s"), (2, "2s")]
    assert "published-at-ms" not in row.headers


def test_what_is_returned_for_ever_does_not_fill_the_table(broker: Broker, relay: Relay) -> None:
    with transaction.atomic():
        outbox.add([OutgoingMessage(type="nobody.listens", body=b"{}")])
    OutboxMessage.objects.update(attempts=10)
    relay.publish_batch()
    assert OutboxMessage.objects.get().attempts == 11
    assert not FailedAttempt.objects.exists()


def test_a_broker_that_is_away_is_no_failed_attempt(config: MessagingConfig) -> None:
    add()
    away = Relay(replace(config, url="amqp://guest:guest@127.0.0.1:1/"), Stop())
    with pytest.raises(BrokerUnavailableError):
        away.publish_batch()
    assert not FailedAttempt.objects.exists()


def test_a_plan_made_for_an_empty_outbox_finds_the_rows_of_a_full_one() -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        set_up_connection(connection=connection)
        cursor.execute("TRUNCATE messaging_outboxmessage")
        cursor.execute("ANALYZE messaging_outboxmessage")
        plan = generic_plan(outbox._CLAIM, "200")
        transaction.set_rollback(True)
    assert "Tid Scan" in plan, plan
    assert plan.count("Scan using outbox_due") == 1


def test_its_connection_reads_by_index_and_compiles_nothing() -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        set_up_connection(connection=connection)
        cursor.execute("EXPLAIN (ANALYZE) SELECT * FROM messaging_outboxmessage ORDER BY available_at, id LIMIT 1")
        by_index = str(cursor.fetchall())
        cursor.execute("EXPLAIN (ANALYZE) SELECT count(*) FROM messaging_process WHERE role = 'relay'")
        without_one = str(cursor.fetchall())
        transaction.set_rollback(True)  # and the settings with it
    assert "Index Scan" in by_index
    assert "Seq Scan" in without_one
    assert "JIT" not in without_one
