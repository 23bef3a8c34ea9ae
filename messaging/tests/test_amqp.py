import errno
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from messaging.amqp import Connection, open_blocking
from messaging.conf import MessagingConfig
from messaging.errors import BrokerUnavailableError
from messaging.tests.conftest import Broker, eventually, hang_up


@pytest.fixture
def hung_up_on(config: MessagingConfig, monkeypatch: pytest.MonkeyPatch) -> Iterator[MessagingConfig]:
    """Its URL leads to a listener that hangs up just after the connect, before pika looks at the socket again."""

    def gone(self: socket.socket) -> None:
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setattr(socket.socket, "getpeername", gone, raising=False)
        yield replace(config, url=f"amqp://127.0.0.1:{listener.getsockname()[1]}/")


def test_a_broker_that_hangs_up_just_after_the_connect_is_away(hung_up_on: MessagingConfig) -> None:
    with pytest.raises(BrokerUnavailableError), open_blocking(hung_up_on, name="test"):
        pytest.fail("connected")
    with pytest.raises(BrokerUnavailableError):
        Connection(hung_up_on, name="test").open()


def test_what_we_report_ourselves_pika_does_not_report_too(
    hung_up_on: MessagingConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(BrokerUnavailableError):
        Connection(hung_up_on, name="test").open()
    assert not [record for record in caplog.records if record.name.startswith("pika")]


def test_a_broker_that_accepts_and_says_nothing_is_away(config: MessagingConfig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        where = f"127.0.0.1:{listener.getsockname()[1]}"
        silent = replace(config, url=f"amqp://{where}/")
        said = f"^RabbitMQ at {where} accepted the connection and did not answer$"
        with pytest.raises(BrokerUnavailableError, match=said), open_blocking(silent, name="test", timeout=0.3):
            pytest.fail("connected")
        connection = Connection(silent, name="test")
        for candidate in connection._candidates:
            candidate.stack_timeout = 0.3
        with pytest.raises(BrokerUnavailableError, match=said):
            connection.open()


@pytest.fixture
def connection(broker: Broker, config: MessagingConfig) -> Iterator[Connection]:
    connection = Connection(replace(config, heartbeat=1), name="test")
    connection.open()
    yield connection
    connection.close()


def test_heartbeats_are_sent_while_nobody_waits_for_the_broker(connection: Connection) -> None:
    pika_connection = connection._connection
    assert pika_connection is not None
    sent = pika_connection.frames_sent
    eventually(lambda: pika_connection.frames_sent > sent + 1)
    assert connection.is_open


def test_a_loss_is_noticed_while_nobody_waits_for_the_broker(connection: Connection) -> None:
    hang_up(connection)
    eventually(lambda: not connection.is_open)
    with pytest.raises(BrokerUnavailableError, match="lost"):
        connection.open_channel()


def test_who_waits_does_so_no_longer_than_the_connection_lasts(connection: Connection) -> None:
    hang_up(connection)
    started = time.monotonic()
    assert not connection.wait(lambda: False, 60)
    assert time.monotonic() - started < 30


def test_more_than_the_socket_takes_is_sent_by_and_by_and_in_order(
    broker: Broker, connection: Connection, config: MessagingConfig
) -> None:
    channel = connection.open_channel()
    large = [bytes([number]) * 4_000_000 for number in range(5)]

    def send() -> None:
        with connection.inner.gathered():
            for body in large:
                channel.basic_publish("", config.queue, body)

    connection.tell(send)
    assert [found[1] for found in (broker.get(config.queue) for _ in large) if found] == large
