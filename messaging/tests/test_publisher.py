from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

import pika
import pika.exceptions
import pika.frame
import pika.spec
import pytest

from dev.servers.rabbitmq import manage
from messaging import amqp
from messaging.conf import MessagingConfig
from messaging.errors import BrokerUnavailableError, ConfigurationError
from messaging.frames import Publication
from messaging.publisher import Fate, Publisher, Receipt, _Batch, _Channel
from messaging.tests.conftest import Broker, eventually, hang_up


@pytest.fixture
def publisher(config: MessagingConfig) -> Iterator[Publisher]:
    publisher = Publisher(config, name="test")
    yield publisher
    publisher.close()


def publication(key: str, body: bytes = b"{}", exchange: str = "", message_id: str = "") -> Publication:
    return Publication(exchange, key, body, pika.BasicProperties(message_id=message_id or key, delivery_mode=2))


def test_it_confirms_every_message_of_a_batch(broker: Broker, publisher: Publisher, config: MessagingConfig) -> None:
    batch = [publication(config.queue, b"%d" % n, message_id=str(n)) for n in range(500)]
    receipts = publisher.publish(batch)
    assert {receipt.fate for receipt in receipts} == {Fate.CONFIRMED}
    bodies = [broker.get(config.queue) for _ in range(500)]
    assert [found[1] for found in bodies if found] == [b"%d" % n for n in range(500)]


def test_it_refuses_what_no_queue_takes_and_delivers_the_rest(
    broker: Broker, publisher: Publisher, config: MessagingConfig
) -> None:
    receipts = publisher.publish([publication(config.queue), publication("nowhere"), publication(config.queue)])
    assert [receipt.fate for receipt in receipts] == [Fate.CONFIRMED, Fate.REFUSED, Fate.CONFIRMED]
    assert "nowhere" in receipts[1].reason
    assert broker.get(config.queue)
    assert broker.get(config.queue)


def test_what_a_full_queue_refuses_is_not_confirmed(broker: Broker, publisher: Publisher) -> None:
    full = f"full-{uuid4()}"
    broker.channel.queue_declare(full, arguments={"x-max-length": 1, "x-overflow": "reject-publish"}, exclusive=True)
    receipts = publisher.publish([publication(full, message_id=str(n)) for n in range(2)])
    assert [receipt.fate for receipt in receipts] == [Fate.CONFIRMED, Fate.REFUSED]
    assert receipts[1].reason


def test_a_queue_whose_limit_is_gone_takes_messages_again(
    broker: Broker, publisher: Publisher, config: MessagingConfig
) -> None:
    virtual_host = quote(urlsplit(config.url).path[1:], safe="")
    policy = f"/api/policies/{virtual_host}/{uuid4()}"
    limit = {"max-length": 1, "overflow": "reject-publish"}
    manage(config.management_url, "PUT", policy, {"pattern": f"^{config.queue}$", "definition": limit})
    try:
        eventually(lambda: publisher.publish([publication(config.queue)])[0].fate is Fate.REFUSED)
    finally:
        manage(config.management_url, "DELETE", policy)
    eventually(lambda: publisher.publish([publication(config.queue)])[0].fate is Fate.CONFIRMED)


def test_what_is_not_confirmed_in_time_may_be_there_or_not_and_the_connection_is_given_up(
    broker: Broker, config: MessagingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = Publisher(replace(config, confirm_timeout=0.3), name="test")
    with monkeypatch.context() as mute:
        mute.setattr(_Channel, "_on_confirm", lambda *_: None)
        receipts = publisher.publish([publication(config.queue), publication(config.queue)])
    assert {receipt.fate for receipt in receipts} == {Fate.UNKNOWN}
    assert not publisher.is_open
    assert publisher.publish([publication(config.queue)])[0].fate is Fate.CONFIRMED
    publisher.close()


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([pika.spec.Connection.Blocked("low on memory")], "RabbitMQ blocks publishers: low on memory"),
        ([pika.spec.Connection.Blocked("low"), pika.spec.Connection.Unblocked()], "RabbitMQ does not confirm in time"),
    ],
)
def test_what_is_not_confirmed_since_the_broker_blocks_publishers_says_so(
    broker: Broker, config: MessagingConfig, monkeypatch: pytest.MonkeyPatch, frames: list[Any], reason: str
) -> None:
    monkeypatch.setattr(_Channel, "_on_confirm", lambda *_: None)
    publisher = Publisher(replace(config, confirm_timeout=0.3), name="test")
    connection, _ = publisher._open()
    from_the_broker: Any = connection._connection
    for frame in frames:
        data = pika.frame.Method(0, frame).marshal()
        connection.tell(partial(from_the_broker._on_data_available, data))
    assert publisher.publish([publication(config.queue)]) == [Receipt(Fate.UNKNOWN, reason)]


def test_a_message_that_closes_the_channel_is_refused_alone(
    broker: Broker, publisher: Publisher, config: MessagingConfig
) -> None:
    batch = [publication(config.queue), publication("x", exchange="no.such.exchange"), publication(config.queue)]
    receipts = publisher.publish(batch)
    assert [receipt.fate for receipt in receipts] == [Fate.CONFIRMED, Fate.REFUSED, Fate.CONFIRMED]
    assert "no.such.exchange" in receipts[1].reason
    assert publisher.publish([publication(config.queue)])[0].fate is Fate.CONFIRMED


def test_when_nothing_is_confirmed_any_more_the_rest_is_not_waited_for_one_by_one(
    broker: Broker, config: MessagingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = Publisher(replace(config, confirm_timeout=0.3), name="test")
    monkeypatch.setattr(_Channel, "_on_confirm", lambda *_: None)
    batch = [publication(config.queue), publication("x", exchange="no.such.exchange"), publication(config.queue)]
    assert [receipt.fate for receipt in publisher.publish(batch)] == [Fate.UNKNOWN] * 3
    publisher.close()


def test_a_message_that_cannot_be_encoded_is_refused_alone(
    broker: Broker, publisher: Publisher, config: MessagingConfig
) -> None:
    bad = Publication("", config.queue, b"{}", pika.BasicProperties(headers={"set": {1, 2}}))
    receipts = publisher.publish([publication(config.queue), bad, publication(config.queue)])
    assert [receipt.fate for receipt in receipts] == [Fate.CONFIRMED, Fate.REFUSED, Fate.CONFIRMED]


def test_it_connects_again_after_a_loss(broker: Broker, publisher: Publisher, config: MessagingConfig) -> None:
    publisher.open()
    connection = publisher._connection
    assert connection is not None
    connection.close()
    assert publisher.publish([publication(config.queue)])[0].fate is Fate.CONFIRMED


def test_a_message_does_not_pay_for_a_loss_that_nobody_has_noticed(
    broker: Broker, publisher: Publisher, config: MessagingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amqp, "_LOOK_IN_EVERY", 60)
    publisher.open()
    connection = publisher._connection
    assert connection is not None
    hang_up(connection)
    assert connection.is_open
    assert publisher.publish([publication(config.queue)])[0].fate is Fate.CONFIRMED
    assert publisher._connection is not connection


def test_a_broker_that_cannot_be_reached_is_unavailable(config: MessagingConfig) -> None:
    publisher = Publisher(replace(config, url="amqp://guest:guest@127.0.0.1:1/"), name="test")
    with pytest.raises(BrokerUnavailableError, match=r"cannot be reached: .*[Rr]efused"):
        publisher.publish([publication("x")])


def test_the_second_url_is_tried_when_the_first_does_not_answer(broker: Broker, config: MessagingConfig) -> None:
    publisher = Publisher(replace(config, url=f"amqp://guest:guest@127.0.0.1:1/,{config.url}"), name="test")
    assert publisher.publish([publication(config.queue)])[0].fate is Fate.CONFIRMED
    publisher.close()


def test_a_wrong_password_is_a_configuration_error(config: MessagingConfig) -> None:
    user, rest = config.url.removeprefix("amqp://").split("@")
    publisher = Publisher(replace(config, url=f"amqp://{user.split(':')[0]}:wrong@{rest}"), name="test")
    with pytest.raises(ConfigurationError, match="password"):
        publisher.publish([publication("x")])


def test_an_unknown_virtual_host_is_a_configuration_error(config: MessagingConfig) -> None:
    publisher = Publisher(replace(config, url=config.url.rsplit("/", 1)[0] + "/no-such-vhost"), name="test")
    with pytest.raises(ConfigurationError, match="virtual host"):
        publisher.publish([publication("x")])


def test_a_virtual_host_that_is_full_is_unavailable_for_now(broker: Broker, config: MessagingConfig) -> None:
    limit = f"/api/vhost-limits/{quote(config.url.rpartition('/')[2], safe='%')}/max-connections"
    full = Publisher(config, name="test")
    manage(config.management_url, "PUT", limit, {"value": 0})
    try:
        with pytest.raises(BrokerUnavailableError, match="limit"):
            full.open()
    finally:
        manage(config.management_url, "DELETE", limit)


def test_a_late_answer_on_a_channel_that_was_given_up_settles_nothing_of_the_next_batch(
    broker: Broker, publisher: Publisher, config: MessagingConfig
) -> None:
    assert publisher.publish([publication(config.queue)])[0].fate is Fate.CONFIRMED
    given_up = publisher._channel
    assert given_up is not None
    publisher.close()

    _, channel = publisher._open()
    batch = channel._batch = _Batch([publication("nowhere"), publication("nowhere")])
    batch.index_of_tag = {1: 0, 2: 1}
    given_up._on_confirm(pika.frame.Method(1, pika.spec.Basic.Ack(delivery_tag=2, multiple=True)))
    given_up._on_closed(given_up._channel, pika.exceptions.ChannelClosedByBroker(404, "late"))
    assert batch.receipts == [None, None]
    assert not batch.settled
    assert channel.closed_because is None

    channel._on_confirm(pika.frame.Method(1, pika.spec.Basic.Ack(delivery_tag=2, multiple=True)))
    assert batch.settled
