import errno
import os
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from messaging.amqp import Connection, open_blocking
from messaging.conf import MessagingConfig
from messaging.errors import BrokerUnavailableError


@pytest.fixture
def hung_up_on(config: MessagingConfig, monkeypatch: pytest.MonkeyPatch) -> Iterator[MessagingConfig]:
    """Leads to a listener that hangs up just after the connect, before pika looks at the socket again."""

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


def test_a_broker_that_accepts_and_says_nothing_is_away(config: MessagingConfig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        silent = replace(config, url=f"amqp://127.0.0.1:{listener.getsockname()[1]}/")
        with pytest.raises(BrokerUnavailableError), open_blocking(silent, name="test", timeout=0.3):
            pytest.fail("connected")
