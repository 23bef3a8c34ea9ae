"""The proxy for injecting faults does what it says, so that surviving its faults means something."""

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.proxy import Proxy, proxy
from tests.waiting import eventually


class Echo:
    """A server that sends back what it receives."""

    def __init__(self) -> None:
        self.ends: list[str] = []
        """How each connection ended: `closed` or `reset`."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client:
            try:
                while data := client.recv(100):
                    client.sendall(data)
            except ConnectionResetError:
                self.ends.append("reset")
            else:
                self.ends.append("closed")


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def way(echo: Echo) -> Iterator[Proxy]:
    with proxy(*echo.address) as one:
        yield one


def connect(way: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", way.port), timeout=10)


def ask(client: socket.socket) -> bytes:
    client.settimeout(10)
    client.sendall(b"hello")
    return client.recv(100)


def assert_hears_nothing(client: socket.socket) -> None:
    client.sendall(b"hello")
    client.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.recv(100)


def test_a_connection_that_lost_something_in_silence_is_dead_for_good(way: Proxy, echo: Echo) -> None:
    with connect(way) as before:
        assert ask(before) == b"hello"

        way.swallowing = True

        assert_hears_nothing(before)
        with connect(way) as meanwhile:
            assert_hears_nothing(meanwhile)

            way.swallowing = False

            assert_hears_nothing(before)
            assert_hears_nothing(meanwhile)
        with connect(way) as after:
            assert ask(after) == b"hello"
    eventually(lambda: echo.ends, "the connection of afterwards ends")
    assert echo.ends == ["closed"], "the end of a dead connection got through"


def test_a_reset_reaches_both_ends_and_the_next_is_welcome(way: Proxy, echo: Echo) -> None:
    with connect(way) as client:
        assert ask(client) == b"hello"

        way.cut_all()

        client.settimeout(10)
        with pytest.raises(ConnectionResetError):
            client.recv(100)
    eventually(lambda: echo.ends == ["reset"], "the server hears of it")
    with connect(way) as client:
        assert ask(client) == b"hello"


def test_an_answer_that_is_lost_takes_its_connection_along_and_no_other(way: Proxy, echo: Echo) -> None:
    way.lose_every = 3
    with connect(way) as one, connect(way) as other:
        assert ask(one) == b"hello"
        assert ask(other) == b"hello"

        with pytest.raises(ConnectionResetError):
            ask(one)

        assert ask(other) == b"hello"
        eventually(lambda: echo.ends == ["reset"], "the server hears of it")


def test_a_server_that_is_away_ends_the_connection_and_not_the_proxy(echo: Echo) -> None:
    with proxy("127.0.0.1", 1) as way:
        for _ in range(2):
            with connect(way) as client:
                client.settimeout(10)
                with pytest.raises(ConnectionResetError):
                    client.recv(100)
