"""`frames` reads and writes what pika does, to the byte, or leaves it to pika."""

from typing import Any

import pika
import pika.frame
import pika.spec
import pytest

from messaging import frames
from messaging.amqp import Connection
from messaging.conf import MessagingConfig
from messaging.envelope import Delivery
from messaging.subscriptions import Source
from messaging.tests.conftest import Broker

USUAL: dict[str, Any] = {
    "content_type": "application/json",
    "headers": {"schema-version": 1, "traceparent": "00-ab-cd-01", "published-at-ms": 1_764_000_000_000, "ä": "ö"},
    "delivery_mode": 2,
    "correlation_id": "c-1",
    "message_id": "01a20370-3916-7684-b55b-b4bec911d845",
    "timestamp": 1_764_000_000,
    "type": "thing.happened",
    "app_id": "things",
}
BODY = b'{"number": 1}'


def on_the_wire(method: Any, properties: pika.BasicProperties, *bodies: bytes) -> bytes:
    parts = [pika.frame.Method(7, method), pika.frame.Header(7, len(b"".join(bodies)), properties)]
    return b"".join(part.marshal() for part in [*parts, *(pika.frame.Body(7, body) for body in bodies)])


def delivered(*bodies: bytes, **properties: Any) -> bytes:
    deliver = pika.spec.Basic.Deliver("ctag1.ä", 2**40, True, "things", "thing.happened")
    return on_the_wire(deliver, pika.BasicProperties(**properties), *bodies)


def published(body: bytes = BODY, *, longest: int = 1000, **properties: Any) -> bytes | None:
    given = frames.Properties(**properties)
    return frames.publication(7, "things", "thing.happened", body, given, longest=longest)


def test_it_reads_a_delivery_as_pika_does() -> None:
    wire = b"before" + delivered(BODY, **USUAL)

    content = frames.delivery_at(wire + b"after", 6)

    assert content is not None
    assert (content.channel, content.consumer_tag, content.tag, content.redelivered) == (7, "ctag1.ä", 2**40, True)
    assert (content.routing_key, content.body, content.end) == ("thing.happened", BODY, len(wire))
    assert content.properties == frames.Properties(**USUAL)


def test_it_waits_for_all_of_a_delivery() -> None:
    wire = delivered(BODY, **USUAL)
    assert [end for end in range(len(wire)) if frames.delivery_at(wire[:end], 0)] == []


@pytest.mark.parametrize(
    "change",
    [{name: None} for name in USUAL]
    + [{"priority": 3}, {"reply_to": "somewhere"}, {"user_id": "dev"}]
    + [{"message_id": None, "reply_to": "somewhere"}]  # as long as the usual, and where the id would be
    + [{"headers": {"x": value}} for value in (True, None)]
    + [{"headers": {"x": {"y": 1}}}, {"headers": {"x": ["y"]}}],
)
def test_it_leaves_unusual_messages_to_pika(change: dict[str, Any]) -> None:
    assert frames.delivery_at(delivered(BODY, **USUAL | change), 0) is None


@pytest.mark.parametrize("headers", [{"x": True}, {"x": None}, {"x": {"y": 1}}, {"x": ["y"]}])
def test_it_leaves_unusual_headers_to_pika(headers: dict[str, Any]) -> None:
    assert published(**USUAL | {"headers": headers}) is None


@pytest.mark.parametrize("name", ["type", "correlation_id"])
def test_it_leaves_what_is_missing_to_pika(name: str) -> None:
    assert published(**USUAL | {name: None}) is None


def test_it_leaves_bodies_of_several_frames_or_none_to_pika() -> None:
    assert frames.delivery_at(delivered(BODY, BODY, **USUAL), 0) is None
    assert frames.delivery_at(delivered(**USUAL), 0) is None
    assert published(b"", **USUAL) is None
    assert published(b"x" * 1001, **USUAL) is None


def test_it_leaves_what_is_broken_to_pika() -> None:
    wire = delivered(BODY, **USUAL)
    for place in range(len(wire)):
        for value in (0, 0xFF, wire[place] ^ 1):
            frames.delivery_at(
                wire[:place] + bytes([value]) + wire[place + 1 :], 0
            )  # whatever it says, it does not raise
    assert frames.delivery_at(wire.replace(b"c-1", b"c-\xff"), 0) is None
    assert frames.delivery_at(wire[:-1] + b"\0", 0) is None
    assert frames.delivery_at(wire.replace(b"\xce\x02", b"\0\x02"), 0) is None
    headers = wire.index(b"application/json") + len(b"application/json") + 3
    for length in (wire.index(b"thing.happened") - 1, headers, wire.rindex(b"things") - 1):
        short = wire[:length] + bytes([wire[length] - 1]) + wire[length + 1 :]
        assert frames.delivery_at(short, 0) is None


def test_it_leaves_other_frames_to_pika() -> None:
    returned = pika.spec.Basic.Return(312, "NO_ROUTE", "things", "thing.happened")
    assert frames.delivery_at(on_the_wire(returned, pika.BasicProperties(**USUAL), BODY), 0) is None
    assert frames.delivery_at(pika.frame.Heartbeat().marshal(), 0) is None
    assert frames.delivery_at(b"", 0) is None


@pytest.mark.parametrize("number", [0, -1, 2**31 - 1, -(2**31), 2**31, -(2**63)])
def test_it_writes_what_pika_writes(number: int) -> None:
    given = USUAL | {"headers": {**USUAL["headers"], "number": number, "empty": ""}}
    publish = pika.spec.Basic.Publish(exchange="things", routing_key="thing.happened", mandatory=True)
    assert published(**given) == on_the_wire(publish, pika.BasicProperties(**given), BODY)


@pytest.mark.parametrize(
    "change",
    [
        {"correlation_id": "x" * 256},
        {"type": "x" * 256},
        {"message_id": "\ud800"},
        {"headers": {"x" * 256: 1}},
        {"headers": {"x": "\ud800"}},
        {"headers": {"x": 2**63}},
        {"timestamp": -1},
    ],
)
def test_it_leaves_what_cannot_be_encoded_to_pika(change: dict[str, Any]) -> None:
    assert published(**USUAL | change) is None


def test_usual_and_unusual_deliveries_arrive_in_order(config: MessagingConfig, broker: Broker) -> None:
    number = 300
    for n in range(number):
        # Bodies of two frames, messages without properties, and usual ones, some of which straddle two reads.
        body = b"x" * 150_000 if n % 50 == 7 else b"x" * n + b"."
        broker.publish(body, **({} if n % 3 else USUAL))
    source = Source(config)
    source.open()
    try:
        subscription = source.subscribe(config.queue, prefetch=number)
        taken: list[Delivery] = []
        while len(taken) < number:
            source.wait(10)
            taken += subscription.take(number)
    finally:
        source.close()
    assert [delivery.tag for delivery in taken] == list(range(1, number + 1))
    assert [len(delivery.body) for delivery in taken] == [150_000 if n % 50 == 7 else n + 1 for n in range(number)]
    assert taken[0].headers == USUAL["headers"]


def test_it_says_how_a_closed_channel_refuses(config: MessagingConfig, broker: Broker) -> None:
    connection = Connection(config, name="test")
    connection.open()
    try:
        channel = connection.open_channel()
        connection.ask(
            lambda answer: (channel.add_on_close_callback(lambda *_: answer(None)), channel.close()), what="x"
        )
        with pytest.raises(pika.exceptions.ChannelWrongStateError):
            connection.inner.publish(channel, frames.Publication("", config.queue, BODY, frames.Properties(**USUAL)))
    finally:
        connection.close()
    assert broker.count(config.queue) == 0
