import fcntl
import struct
import termios
from collections.abc import Iterator
from typing import Any

import pytest
from pika.adapters.utils.io_services_utils import _AsyncPlaintextTransport

from messaging import amqp
from messaging.conf import MessagingConfig
from messaging.errors import BrokerUnavailableError
from messaging.subscriptions import Source
from messaging.tests.conftest import Broker, eventually


@pytest.fixture
def source(config: MessagingConfig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    monkeypatch.setattr(amqp, "_LOOK_IN_EVERY", 60)
    source = Source(config)
    source.open()
    yield source
    source.close()


def in_the_socket(source: Source) -> int:
    """How many bytes the broker has sent that nobody has taken in yet."""
    transport: Any = source._connection._connection._transport  # type: ignore[union-attr]
    answer = fcntl.ioctl(transport._sock, termios.FIONREAD, bytes(4))
    return int(struct.unpack("i", answer)[0])


def test_all_that_has_arrived_can_be_taken_though_pika_takes_in_only_so_much_at_once(
    broker: Broker, source: Source, config: MessagingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amqp, "AT_ONCE", 4096)
    monkeypatch.setattr(_AsyncPlaintextTransport, "_MAX_CONSUME_BYTES", 4096)
    work = source.subscribe(config.queue, prefetch=100)
    for _ in range(100):
        broker.publish(b"-" * 500)
    eventually(lambda: in_the_socket(source) > 100 * 500)
    source.wait(10)
    assert len(work.take(100)) > 90


def test_a_channel_that_the_broker_has_closed_meanwhile_says_why(
    broker: Broker, source: Source, config: MessagingConfig
) -> None:
    work = source.subscribe(config.queue, prefetch=1)
    broker.publish(b"-")
    source.wait(10)
    batch = work.take(1)
    for _ in range(2):  # the broker takes only one acknowledgement of each
        work.ack_each(batch)
    eventually(lambda: in_the_socket(source) > 0)
    source._connection.look()

    with pytest.raises(BrokerUnavailableError, match="unknown delivery tag"):
        work.change_prefetch(10)


def test_it_says_why_a_queue_cannot_be_consumed(source: Source) -> None:
    with pytest.raises(BrokerUnavailableError, match="NOT_FOUND"):
        source.subscribe("not.there", prefetch=1)
