import logging
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pika.exceptions
import pytest
from django.db import OperationalError, connection, transaction

from messaging import dead_letters, inbox, topology
from messaging.conf import MessagingConfig
from messaging.consumer import Consumer
from messaging.errors import ConfigurationError, TransientError
from messaging.message import Message
from messaging.models import DeadLetter, InboxMessage
from messaging.relay import Relay
from messaging.stopping import Stop
from messaging.tests.conftest import Broker, eventually
from messaging.tests.handlers import HANDLERS, Recorder
from messaging.tests.round_trips import round_trips

pytestmark = pytest.mark.django_db(transaction=True)


def test_it_handles_a_message_once_and_acknowledges_it(
    broker: Broker, recorder: Recorder, start: Any, config: MessagingConfig
) -> None:
    message_id = str(uuid.uuid4())
    broker.publish_thing(1, message_id=message_id, correlation_id="request-1", headers={"traceparent": "t"})
    running = start()
    eventually(lambda: recorder.numbers == [1])
    [[message]] = recorder.batches
    assert (str(message.id), message.type, message.correlation_id, message.traceparent, message.attempt) == (
        message_id, "thing.happened", "request-1", "t", 1
    )  # fmt: skip
    running.stop()
    assert broker.count(config.queue) == 0
    assert InboxMessage.objects.filter(message_id=message_id, type="thing.happened").exists()
    assert not DeadLetter.objects.exists()


def test_it_does_not_handle_a_duplicate(broker: Broker, recorder: Recorder, start: Any) -> None:
    message_id = str(uuid.uuid4())
    for _ in range(10):
        broker.publish_thing(1, message_id=message_id)
    broker.publish_thing(2)
    start()
    eventually(lambda: 2 in recorder.numbers)
    assert recorder.numbers == [1, 2]


def test_a_sender_with_one_id_for_all_loses_none_of_its_messages(
    broker: Broker, recorder: Recorder, start: Any
) -> None:
    for number in (1, 2, 1, 3):
        broker.publish_thing(number, message_id="order")
    start()
    eventually(lambda: 3 in recorder.numbers)
    assert recorder.numbers == [1, 2, 3]


def test_an_id_that_took_effect_with_another_type_is_a_warning(
    broker: Broker, recorder: Recorder, start: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(HANDLERS, "thing.else", HANDLERS["thing.happened"])
    given = str(uuid.uuid4())
    broker.publish_thing(1, message_id=given)
    broker.publish_thing(1, message_id=given)
    broker.publish(b'{"number": 2}', type="thing.else", message_id=given)
    broker.publish_thing(3)
    with caplog.at_level(logging.WARNING):
        start()
        eventually(lambda: InboxMessage.objects.count() == 2)
        [warning] = eventually(lambda: [record for record in caplog.records if record.name == "messaging.inbox"])
    assert recorder.numbers == [1, 3]
    said = warning.__dict__
    assert (said["message_id"], said["type"]) == (given, "thing.else")
    assert "'thing.happened'" in said["reason"]


def test_of_two_copies_in_one_batch_one_takes_effect() -> None:
    first, second = (Message(uuid.uuid4(), "thing.happened", {"number": n}, "", "", 1) for n in range(2))
    with transaction.atomic():
        assert inbox.admit([first, second, first]) == [first, second]
    with transaction.atomic():
        assert inbox.admit([second, first]) == []


def test_many_messages_share_a_transaction(
    broker: Broker, recorder: Recorder, start: Any, config: MessagingConfig
) -> None:
    for number in range(300):
        broker.publish_thing(number)
    running = start()
    eventually(lambda: len(recorder.numbers) == 300)
    assert sorted(recorder.numbers) == list(range(300))
    assert max(len(batch) for batch in recorder.batches) > 10
    running.stop()
    assert broker.count(config.queue) == 0, "all of them were acknowledged"


def test_where_messages_take_long_a_batch_is_of_few(
    broker: Broker, recorder: Recorder, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    handled = 0

    def take_half_a_second_each(messages: Sequence[Message[Any]]) -> None:
        nonlocal handled
        handled += len(messages)

    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + handled / 2, sleep=time.sleep)
    monkeypatch.setattr("messaging.consumer.time", clock)
    recorder.before = take_half_a_second_each
    for number in range(40):
        broker.publish_thing(number)
    start()
    eventually(lambda: len(recorder.numbers) == 40)
    # The first one alone shows that they take long; the next few show how long.
    assert max(len(batch) for batch in recorder.batches) <= 10


def test_a_batch_costs_two_round_trips_and_those_of_its_handler(config: MessagingConfig) -> None:
    def messages() -> list[Message[Any]]:
        return [Message(uuid.uuid4(), "thing.happened", {"number": n}, "", "", 1) for n in range(100)]

    consumer = Consumer(config, Stop())
    consumer._take_effect(messages())  # which prepares the statement of the inbox
    with round_trips() as asked:
        consumer._take_effect(messages())

    assert asked == ["BEGIN run", "COMMIT"]


def test_a_batch_size_of_one_gives_each_message_its_own_transaction(
    broker: Broker, recorder: Recorder, start: Any
) -> None:
    for number in range(20):
        broker.publish_thing(number)
    start(batch_size=1)
    eventually(lambda: len(recorder.numbers) == 20)
    assert all(len(batch) == 1 for batch in recorder.batches)


def test_a_body_without_an_envelope_is_handled_once(broker: Broker, recorder: Recorder, start: Any) -> None:
    broker.publish(b'{"number": 1}')
    broker.publish(b'{"number": 1}')
    broker.publish(b'{"number": 2}', exchange="things", routing_key="thing.happened")
    start()
    eventually(lambda: 2 in recorder.numbers)
    assert recorder.numbers == [1, 2]


def test_a_database_that_is_away_counts_nothing(broker: Broker, recorder: Recorder, start: Any) -> None:
    failures = iter([OperationalError("gone"), OperationalError("gone")])

    def away(messages: Sequence[Message[Any]]) -> None:
        if error := next(failures, None):
            raise error

    recorder.before = away
    broker.publish_thing(1)
    broker.publish_thing(2)
    start()
    eventually(lambda: sorted(recorder.numbers) == [1, 2])
    assert all(message.attempt == 1 for batch in recorder.batches for message in batch)
    assert not DeadLetter.objects.exists()


def test_it_goes_on_when_its_database_connections_are_cut(broker: Broker, recorder: Recorder, start: Any) -> None:
    start()
    broker.publish_thing(1)
    eventually(lambda: recorder.numbers == [1])
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    broker.publish_thing(2)
    eventually(lambda: recorder.numbers == [1, 2])
    assert recorder.batches[-1][0].attempt == 1


def test_a_queue_deleted_under_it_is_declared_again(
    broker: Broker, recorder: Recorder, start: Any, config: MessagingConfig
) -> None:
    start()
    broker.publish_thing(1)
    eventually(lambda: recorder.numbers == [1])
    broker.publish_thing(2)
    eventually(lambda: recorder.numbers == [1, 2])  # with the final prefetch
    broker.channel.queue_delete(config.queue)

    def published() -> bool:
        with suppress(pika.exceptions.NackError):  # from a queue that is just being deleted
            broker.publish_thing(3, message_id=str(uuid.UUID(int=3)))
        return 3 in recorder.numbers

    eventually(published)
    assert recorder.numbers == [1, 2, 3]


def test_a_binding_that_was_removed_is_declared_again(
    broker: Broker, recorder: Recorder, start: Any, config: MessagingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("messaging.consumer.TOPOLOGY_INTERVAL", 0.5)
    start()
    broker.publish_thing(1)
    eventually(lambda: recorder.numbers == [1])
    broker.channel.queue_unbind(config.queue, config.exchange, "thing.happened")

    def routed() -> bool:
        try:
            broker.publish(b'{"number": 2}', exchange=config.exchange, routing_key="thing.happened", mandatory=True)
        except pika.exceptions.UnroutableError:
            return False
        return True

    eventually(routed)
    eventually(lambda: recorder.numbers == [1, 2])


def test_a_topology_conflict_ends_it_with_a_sentence(broker: Broker, config: MessagingConfig) -> None:
    rung = f"{config.queue}.retry.100ms"
    broker.channel.queue_delete(rung)
    [wanted] = [queue for queue in topology.describe(config).queues if queue.name == rung]
    broker.channel.queue_declare(rung, durable=True, arguments=wanted.arguments | {"x-message-ttl": 7})
    with pytest.raises(ConfigurationError, match=rf"queue '{rung}'.*x-message-ttl.*has 7, wanted is 100"):
        Consumer(config, Stop()).run()
    broker.channel.queue_delete(rung)


def test_it_puts_back_what_it_holds_when_it_is_stopped(
    broker: Broker, recorder: Recorder, start: Any, config: MessagingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("messaging.consumer._TRIES_ALONE", 1_000)

    def gone(messages: Sequence[Message[Any]]) -> None:
        raise OperationalError("gone")

    recorder.before = gone
    broker.publish_thing(1)
    running = start()
    eventually(lambda: broker.count(config.queue) == 0)
    running.stop()
    eventually(lambda: broker.count(config.queue) == 1)
    assert not InboxMessage.objects.exists()


def test_the_inbox_knows_when_a_message_was_sent(broker: Broker, recorder: Recorder, start: Any) -> None:
    at = datetime(2026, 5, 1, 12, 0, 0, 250_000, tzinfo=UTC)
    broker.publish_thing(1, headers={"published-at-ms": int(at.timestamp() * 1000)})
    for number, given in enumerate(["1777636800250", -1, 2**62, True, [1], datetime(2026, 5, 1, tzinfo=UTC)], start=2):
        broker.publish_thing(number, headers={"published-at-ms": given})
    broker.publish_thing(8)
    start()
    eventually(lambda: len(recorder.numbers) == 8)
    eventually(lambda: InboxMessage.objects.count() == 8)
    assert {message.payload["number"]: message.published_at for batch in recorder.batches for message in batch} == {
        1: at, **dict.fromkeys(range(2, 9)),
    }  # fmt: skip
    assert list(InboxMessage.objects.exclude(published_at=None).values_list("published_at", flat=True)) == [at]


def test_a_retry_keeps_the_time_and_a_replay_has_its_own(
    broker: Broker, recorder: Recorder, start: Any, config: MessagingConfig
) -> None:
    sent: list[datetime | None] = []

    def fail(messages: Sequence[Message[Any]]) -> None:
        sent.append(messages[0].published_at)
        if len(sent) < 4:
            raise TransientError("not yet")

    recorder.before = fail
    broker.publish_thing(1, headers={"published-at-ms": 1_000})
    start()
    eventually(DeadLetter.objects.first)
    assert sent == [datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)] * 3
    dead_letters.replay(dead_letters=DeadLetter.objects.all(), by="anna")
    Relay(config, Stop()).publish_batch()
    eventually(lambda: recorder.numbers == [1])
    assert sent[3] is not None
    assert sent[3].year > 2000
