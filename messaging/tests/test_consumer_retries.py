"""What becomes of messages that failed: along the ladder or to the dead letters, and safe before the ack."""

import re
import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from django.db import DataError, OperationalError
from prometheus_client import REGISTRY

from dev.servers.rabbitmq import manage
from messaging import dead_letters, topology
from messaging.amqp import open_blocking
from messaging.conf import MessagingConfig
from messaging.errors import BrokerUnavailableError, TransientError
from messaging.frames import Publication
from messaging.message import Message
from messaging.models import DeadLetter, FailedAttempt, FailureGroup, InboxMessage
from messaging.publisher import Fate, Publisher, Receipt
from messaging.tests.conftest import Broker, eventually
from messaging.tests.handlers import Recorder

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("error", [TransientError("not yet"), KeyError("a bug")])
def test_a_transient_failure_succeeds_on_a_later_rung(
    broker: Broker, recorder: Recorder, start: Any, error: Exception
) -> None:
    attempts: list[int] = []

    def fail_twice(messages: Sequence[Message[Any]]) -> None:
        attempts.append(messages[0].attempt)
        if messages[0].attempt < 3:
            raise error

    recorder.before = fail_twice
    broker.publish_thing(1, message_id=str(uuid.uuid4()), correlation_id="request-1")
    start()
    eventually(lambda: recorder.numbers == [1])
    assert attempts == [1, 2, 3]
    assert recorder.batches[0][0].correlation_id == "request-1"
    assert not DeadLetter.objects.exists()


def test_when_the_ladder_is_used_up_it_becomes_a_dead_letter(
    broker: Broker, recorder: Recorder, start: Any, config: MessagingConfig
) -> None:
    def fail(messages: Sequence[Message[Any]]) -> None:
        raise TransientError("never")

    recorder.before = fail
    message_id = uuid.uuid4()
    broker.publish_thing(1, message_id=str(message_id))
    before = counted()
    start()
    letter = eventually(DeadLetter.objects.first)
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [2, 1]
    assert letter.message_id == message_id
    assert letter.attempts == 3
    assert letter.first_failed_at < letter.last_failed_at
    assert letter.queue == config.queue
    assert not recorder.numbers
    assert not InboxMessage.objects.exists()


def counted() -> list[float]:
    """Messages sent to a rung, and to the dead letters."""
    retried = REGISTRY.get_sample_value("messaging_retried_total", {"type": "thing.happened"})
    dead = REGISTRY.get_sample_value("messaging_dead_lettered_total", {"error_type": "TransientError"})
    return [retried or 0.0, dead or 0.0]


@pytest.mark.parametrize("answer", [BrokerUnavailableError("RabbitMQ blocks publishers"), Fate.REFUSED, Fate.UNKNOWN])
def test_what_failed_stays_in_hand_until_it_is_safe_on_a_rung(
    broker: Broker,
    recorder: Recorder,
    start: Any,
    config: MessagingConfig,
    monkeypatch: pytest.MonkeyPatch,
    answer: Exception | Fate,
) -> None:
    def fail(messages: Sequence[Message[Any]]) -> None:
        raise TransientError("not yet")

    tried = threading.Event()

    def refuse(publisher: Publisher, publications: Sequence[Publication]) -> list[Receipt]:
        tried.set()
        if isinstance(answer, Exception):
            raise answer
        return [Receipt(answer, "not yet") for _ in publications]

    recorder.before = fail
    monkeypatch.setattr(Publisher, "publish", refuse)
    broker.publish_thing(1)
    running = start()
    assert tried.wait(60)
    running.stop()
    eventually(lambda: broker.count(config.queue) == 1)


def test_a_dead_letter_stays_in_its_queue_until_it_is_stored(
    broker: Broker, start: Any, config: MessagingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = threading.Event()

    def refuse(*_: Any) -> Any:
        tried.set()
        raise OperationalError("the database is starting up")

    monkeypatch.setattr(dead_letters, "store", refuse)
    queue = topology.dead_letter_queue(config)
    broker.publish(b"{", routing_key=queue)
    running = start()
    assert tried.wait(60)
    running.stop()
    eventually(lambda: broker.count(queue) == 1)


GARBAGE: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "no JSON": (b"{not json", {}, "body"),
    "an empty body": (b"", {}, "body"),
    "not an object": (b"[1, 2]", {}, "not an object"),
    "no text": (b"\xff\xfe\x00", {}, "body"),
    "nested too deep": (b"[" * 100_000, {}, "body"),
    "an unknown type": (b"{}", {"type": "thing.unheard"}, "Unknown type 'thing.unheard'"),
    "an unknown version": (b"{}", {"headers": {"schema-version": 99}}, "schema-version 99"),
    "an unknown version in 64 bits": (b"{}", {"headers": {"schema-version": 2**40}}, "schema-version 1099511627776 of"),
    "a version that is none": (b"{}", {"headers": {"schema-version": ["x"]}}, "schema-version"),
    "NUL and the like in the envelope": (
        b"[]", {"type": "thing.happened", "correlation_id": "a\x00b\n", "headers": {"\x00": "\x00"}}, "object",
    ),
    "a great many headers": (b"[]", {"headers": {f"h{n}": "x" * 1000 for n in range(100)}}, "object"),
}  # fmt: skip


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_ends_in_the_dead_letters_with_a_reason(
    broker: Broker, recorder: Recorder, start: Any, what: str
) -> None:
    body, properties, reason = GARBAGE[what]
    broker.publish(body, **properties)
    broker.publish_thing(2)
    start()
    letter = eventually(DeadLetter.objects.first)
    eventually(lambda: recorder.numbers == [2])
    assert bytes(letter.body) == body
    assert letter.error_type == "InvalidMessageError"
    assert reason in letter.error_message


def test_headers_that_cannot_be_decoded_cost_neither_the_connection_nor_another_message(
    broker: Broker, recorder: Recorder, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pika.data

    encode: Callable[[list[bytes], object], int] = pika.data.encode_value

    def with_year_ten_thousand(pieces: list[bytes], value: object) -> int:
        if value == "year 10000":
            pieces.append(b"T" + (2**40).to_bytes(8, "big"))
            return 9
        return encode(pieces, value)

    with monkeypatch.context() as patched:
        patched.setattr(pika.data, "encode_value", with_year_ten_thousand)
        broker.publish(b'{"number": 1}', type="thing.happened", headers={"when": "year 10000"})
    broker.publish_thing(2)
    start()
    letter = eventually(DeadLetter.objects.first)
    eventually(lambda: recorder.numbers == [2])
    assert "cannot be decoded" in letter.error_message
    assert letter.attempts == 1


@pytest.mark.parametrize(
    ("text", "header", "frame_max"),
    [("\udcff", 20_000, ""), ("x", 10, "16384"), ("x", 40_000, "16384"), ("\U0001f600", 40_000, "8192")],
)
def test_what_is_too_much_for_a_frame_is_cut_and_stops_no_consumer(
    broker: Broker, recorder: Recorder, start: Any, config: MessagingConfig, text: str, header: int, frame_max: str
) -> None:
    def fail_at_13(messages: Sequence[Message[Any]]) -> None:
        if any(message.payload["number"] == 13 for message in messages):
            raise TransientError(text * 20_000)

    recorder.before = fail_at_13
    broker.publish_thing(13, headers={"own": "y" * header, "schema-version": 1})
    broker.publish_thing(1)
    start(url=f"{config.url}?frame_max={frame_max}" if frame_max else config.url)
    letter = eventually(DeadLetter.objects.first)
    assert (letter.error_type, letter.attempts) == ("TransientError", 3)
    assert letter.headers["schema-version"] == 1
    eventually(lambda: recorder.numbers == [1])
    assert DeadLetter.objects.count() == 1


def test_what_the_broker_dead_letters_is_kept_with_its_reason(
    broker: Broker, recorder: Recorder, start: Any, config: MessagingConfig
) -> None:
    message_id = uuid.uuid4()
    broker.publish_thing(1, message_id=str(message_id))
    for _ in range(topology.DELIVERY_LIMIT + 1):
        found = eventually(lambda: broker.channel.basic_get(config.queue)[0])
        broker.channel.basic_reject(found.delivery_tag, requeue=True)
    eventually(lambda: broker.count(config.queue) == 0)
    start()
    letter = eventually(DeadLetter.objects.first)
    assert (letter.message_id, letter.error_type) == (message_id, "DeliveryLimitExceeded")
    assert letter.attempts == 1
    assert letter.headers == {}


def test_a_failed_message_whose_rung_is_gone_is_held_and_not_given_back(
    broker: Broker, recorder: Recorder, start: Any, config: MessagingConfig
) -> None:
    attempts: list[int] = []

    def fail_once(messages: Sequence[Message[Any]]) -> None:
        attempts.extend(message.attempt for message in messages)
        if messages[0].attempt == 1:
            channel.queue_delete(f"{config.queue}.retry.100ms")
            raise TransientError("not yet")

    with open_blocking(config, name="test, in the handler") as connection:
        channel = connection.channel()
        recorder.before = fail_once
        broker.publish_thing(1)
        start()
        eventually(lambda: recorder.numbers == [1])
    assert attempts == [1, 2], "it was delivered again instead of being held"
    assert not DeadLetter.objects.exists()


def test_a_dead_letter_queue_with_a_limit_is_emptied_while_it_refuses_more(
    broker: Broker, recorder: Recorder, start: Any, config: MessagingConfig
) -> None:
    letters = topology.dead_letter_queue(config)
    for number in range(60):
        broker.publish(b"{%d" % number, routing_key=letters)
    policy = f"/api/policies/{quote(urlsplit(config.url).path[1:], safe='')}/{uuid.uuid4()}"
    limit = {"max-length": 1, "overflow": "reject-publish"}
    manage(config.management_url, "PUT", policy, {"pattern": f"^{re.escape(letters)}$", "definition": limit})
    try:
        for number in range(60, 65):
            broker.publish(b"{%d" % number)
        broker.publish_thing(1)
        start()
        eventually(lambda: DeadLetter.objects.count() == 65 and recorder.numbers == [1])
    finally:
        manage(config.management_url, "DELETE", policy)


def test_each_try_that_failed_is_recorded(broker: Broker, recorder: Recorder, start: Any) -> None:
    def fail(messages: Sequence[Message[Any]]) -> None:
        raise TransientError(f"not the {messages[0].attempt}. time")

    recorder.before = fail
    message_id = uuid.uuid4()
    broker.publish(b'{"thing": "t-1"}', type="thing.happened", message_id=str(message_id), correlation_id="request-1")
    start()
    letter = eventually(DeadLetter.objects.select_related("group").first)
    eventually(lambda: FailedAttempt.objects.count() == 3)
    attempts = FailedAttempt.objects.order_by("attempt")
    assert [(one.attempt, one.retry_in, one.error_message) for one in attempts] == [
        (1, "100ms", "not the 1. time"), (2, "200ms", "not the 2. time"), (3, "", "not the 3. time"),
    ]  # fmt: skip
    for one in attempts:
        assert (one.step, one.message_id, one.type, one.subject) == ("handle", message_id, "thing.happened", "t-1")
        assert (one.error_type, one.correlation_id) == ("TransientError", "request-1")
        assert one.place.endswith("test_each_try_that_failed_is_recorded.fail")
        assert one.fingerprint == letter.group.fingerprint
    assert (letter.subject, letter.group.place) == ("t-1", attempts[0].place)


def test_a_batch_of_failures_is_recorded_in_one_statement(broker: Broker, start: Any, recorder: Recorder) -> None:
    bad = [b"[%d]\x00" % number for number in range(60)]
    for body in bad:
        broker.publish(body, type="thing.happened")
    start()
    eventually(lambda: FailedAttempt.objects.count() == 60)
    assert {one.error_type for one in FailedAttempt.objects.all()} == {"InvalidMessageError"}
    # Rows of one statement have one time.
    assert FailedAttempt.objects.values("at").distinct().count() < 30
    eventually(lambda: DeadLetter.objects.count() == 60)
    group = FailureGroup.objects.get()
    assert (group.place, group.type, group.occurrences) == ("messaging.envelope.read", "thing.happened", 60)


def test_what_cannot_be_recorded_is_handled_nevertheless(
    broker: Broker, recorder: Recorder, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = iter([OperationalError("gone"), OperationalError("gone"), DataError("a bug")])
    record = FailedAttempt.objects.bulk_create

    def gone(rows: Any) -> Any:
        if error := next(away, None):
            raise error
        return record(rows)

    monkeypatch.setattr(FailedAttempt.objects, "bulk_create", gone)

    def fail_once(messages: Sequence[Message[Any]]) -> None:
        if messages[0].attempt == 1:
            raise TransientError("not yet")

    recorder.before = fail_once
    broker.publish_thing(1)
    start()
    eventually(lambda: recorder.numbers == [1])
    assert recorder.batches[0][0].attempt == 2
    broker.publish_thing(2)
    eventually(lambda: recorder.numbers == [1, 2])
    assert FailedAttempt.objects.count() == 1
    assert not DeadLetter.objects.exists()
