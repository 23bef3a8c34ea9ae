"""Whatever AMQP can carry, it is handled or becomes one dead letter. The same messages every time.

For others, and more of them: FUZZ_EXAMPLES (batches of messages), and pytest's `--hypothesis-seed`.
"""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from messaging import conf, dead_letters, envelope, topology
from messaging.conf import MessagingConfig
from messaging.consumer import Consumer
from messaging.envelope import Delivery
from messaging.errors import InvalidMessageError, PermanentError, TransientError
from messaging.frames import as_pika
from messaging.message import Message
from messaging.models import DeadLetter, InboxMessage, OutboxMessage
from messaging.pika_patches import UNREADABLE_HEADERS, TolerantProperties
from messaging.stopping import Stop
from messaging.tests import wire
from messaging.tests.conftest import Broker, Running, eventually
from messaging.tests.handlers import HANDLERS, Recorder
from messaging.tests.wire import Properties

BATCHES = int(os.environ.get("FUZZ_EXAMPLES", "0"))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["later", "never"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
things = st.fixed_dictionaries({"number": json_values}, optional={"works": st.sampled_from(["later", "never", "bug"])})
bodies = st.binary(max_size=500) | json_values.map(json.dumps).map(str.encode) | things.map(json.dumps).map(str.encode)
"""Any bytes, any JSON, and things that the handler takes, or fails on as `works` says."""
ids = st.none() | st.uuids().map(str).map(str.encode) | wire.shorts
sent = st.tuples(bodies, wire.properties, ids)


def with_examples(few: int) -> settings:
    return settings(
        max_examples=BATCHES or few,
        derandomize=not BATCHES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def delivery(body: bytes, properties: Properties) -> Delivery:
    """The message as it arrives."""
    arrived = TolerantProperties()
    arrived.decode(b"".join(properties.encode()))
    return Delivery(1, False, "thing.happened", arrived, body)


def named(properties: Properties, message_id: bytes | None) -> Properties:
    return properties if message_id is None else Properties({**properties.given, "message_id": message_id})


@with_examples(300)
@given(sent)
def test_any_message_is_read_or_refused_and_can_be_moved_and_kept(message: tuple[bytes, Properties, bytes]) -> None:
    config = conf.config()
    body, properties, message_id = message
    arrived = delivery(body, named(properties, message_id))
    error: Exception = TransientError("later")
    try:
        assert isinstance(envelope.read(arrived, HANDLERS), Message)
    except InvalidMessageError as refusal:
        error = refusal
    type_ = arrived.type_among(HANDLERS)
    for moved in (envelope.next_rung(arrived, config), envelope.dead_letter(arrived, error, config)):
        if moved is None:
            continue
        again = TolerantProperties()
        again.decode(b"".join(as_pika(moved.properties).encode()))
        back = Delivery(2, False, moved.routing_key, again, moved.body)
        assert UNREADABLE_HEADERS not in back.headers
        assert (back.message_id, back.correlation_id, back.body) == (arrived.message_id, arrived.correlation_id, body)
        assert back.type_among(HANDLERS) == type_
        assert back.failures == arrived.failures + 1
    kept = envelope.failed(back, config)  # what is kept of the dead letter
    assert (kept.message_id, kept.body, kept.error_type) == (arrived.message_id, body, type(error).__name__)
    envelope.failed(arrived, config)


def _is_empty(broker: Broker, queue: str) -> bool:
    return broker.count(queue) == 0


class Consuming:
    """A consumer under way, and what must have become of messages that are put on its queue."""

    def __init__(self, broker: Broker, config: MessagingConfig, recorder: Recorder) -> None:
        self.broker = broker
        self.config = config
        self.recorder = recorder
        self.sent = 0

    def send(self, body: bytes, properties: Properties, message_id: bytes | None) -> Delivery:
        """Puts a message on the queue whose body, and id if it has one, no other message has."""
        # Blanks at its end, one for each bit of a number: they change no JSON.
        self.sent += 1
        body += f"{self.sent:020b}".translate({ord("0"): " ", ord("1"): "\t"}).encode()
        if message_id is not None:
            message_id = b"%d %b" % (self.sent, message_id[:200])
        properties = named(properties, message_id)
        self.broker.channel.basic_publish("", self.config.queue, body, properties)
        return delivery(body, properties)

    def wait_for(self, deliveries: Sequence[Delivery]) -> None:
        """Waits until each has taken effect or is a dead letter. Fails when one has come to both, or twice to one."""
        ends: dict[bytes, list[str]] = {}

        def all_have_ended() -> bool:
            handled = set(
                InboxMessage.objects.filter(message_id__in=[one.message_id for one in deliveries])
                .values_list("message_id", flat=True)
            )  # fmt: skip
            letters = DeadLetter.objects.filter(body__in=[one.body for one in deliveries])
            ends.clear()
            ends.update({one.body: ["handled"] if one.message_id in handled else [] for one in deliveries})
            for body, message_id, occurrences in letters.values_list("body", "message_id", "occurrences"):
                ends[bytes(body)] += [f"dead letter {message_id}"] * occurrences
            return all(ends.values())

        eventually(all_have_ended, within=30)
        for one in deliveries:
            assert ends[one.body] in (["handled"], [f"dead letter {one.message_id}"])


@pytest.fixture
def consuming(broker: Broker, config: MessagingConfig, recorder: Recorder, caplog: Any) -> Iterator[Consuming]:
    """Ends with the assertion that the consumer has never lost the broker, and has left nothing anywhere."""

    def fail_on_what_says_so(messages: Sequence[Message[Any]]) -> None:
        errors = {"later": TransientError("later"), "never": PermanentError("never"), "bug": KeyError("bug")}
        for message in messages:
            if (error := errors.get(str(message.payload.get("works")))) is not None:
                raise error

    recorder.before = fail_on_what_says_so
    stop = Stop()
    running = Running(Consumer(config, stop).run, stop.request)
    with caplog.at_level(logging.WARNING):
        yield Consuming(broker, config, recorder)
    assert running.thread.is_alive()
    running.stop()
    assert not [record for record in caplog.records if "circuit" in record.message or "held" in record.message]
    for queue in topology.describe(config).queues:
        eventually(partial(_is_empty, broker, queue.name))


@pytest.mark.django_db(transaction=True)
@with_examples(8)
@given(batch=st.lists(sent, min_size=20, max_size=40))
def test_any_message_takes_effect_or_becomes_one_dead_letter(
    consuming: Consuming, batch: list[tuple[bytes, Properties, bytes]]
) -> None:
    deliveries = [consuming.send(*message) for message in batch]
    good = consuming.send(b'{"number": 1}', Properties({"type": b"thing.happened"}), str(uuid4()).encode())
    consuming.wait_for([*deliveries, good])
    assert InboxMessage.objects.filter(message_id=good.message_id).exists()


@pytest.mark.django_db
@with_examples(100)
@given(sent)
@example((b"", Properties({"headers": {b"\0" * 255: (b"S", b"\0" * 255)}, "type": b"\0" * 255}), b"\0" * 255))
def test_any_dead_letter_comes_back_as_it_was(message: tuple[bytes, Properties, bytes]) -> None:
    config = conf.config()
    body, properties, message_id = message
    arrived = delivery(body, named(properties, message_id))
    OutboxMessage.objects.all().delete()
    DeadLetter.objects.all().delete()

    dead_letters.store([envelope.failed(arrived, config)])

    assert dead_letters.replay(dead_letters=DeadLetter.objects.all(), by="anna") == 1
    [letter], [row] = DeadLetter.objects.all(), OutboxMessage.objects.all()
    assert str(letter)
    announced = envelope.from_outbox(row, service="things")
    back = delivery(announced.body, Properties({}))
    as_pika(back.properties).decode(b"".join(as_pika(announced.properties).encode()))
    assert (back.message_id, back.body, back.failures) == (arrived.message_id, body, 0)
    assert back.correlation_id == arrived.correlation_id
    own = {"schema-version", "traceparent", "published-at-ms"}  # of the replay
    assert {**back.headers, **{key: value for key, value in letter.headers.items() if key not in own}} == back.headers


@with_examples(100)
@given(wire.properties, wire.shorts)
def test_headers_that_cannot_be_decoded_cost_only_the_headers(properties: Properties, message_id: bytes) -> None:
    others = {name: value for name, value in properties.given.items() if name != "headers"} | {"message_id": message_id}
    far = {**properties.given.get("headers", {}), b"when": (b"T", 2**63)}

    arrived = as_pika(delivery(b"", Properties(others | {"headers": far})).properties)

    assert list(arrived.headers) == [UNREADABLE_HEADERS]
    arrived.headers = None
    assert arrived == delivery(b"", Properties(others)).properties
