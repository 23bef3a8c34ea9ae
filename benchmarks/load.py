"""Posts orders over many connections and takes their times. Costs far less CPU than what it measures."""

import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    seconds: float
    """From the first byte sent to the last byte received."""


class _Exchange:
    """One keep-alive connection, and the request that is under way on it."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self._started = 0.0

    def send(self, request: bytes) -> None:
        self._received = b""
        self._started = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> Answer | None:
        """Call it when there is something to read. None while the answer is not complete."""
        chunk = self.socket.recv(65536)
        if not chunk:
            raise ConnectionError("the service closed a connection in the middle of an answer")
        self._received += chunk
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return None
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return None
        return Answer(int(head[9:12]), body, time.perf_counter() - self._started)


def post_all(port: int, path: str, bodies: Sequence[bytes], *, connections: int, within: float) -> list[Answer]:
    """Posts each body once, each connection the next one as soon as it has its answer.

    Raises TimeoutError when that takes longer than `within` seconds, ConnectionError when a connection breaks.
    """
    requests: Iterator[bytes] = (_request(port, path, body) for body in bodies)
    answers: list[Answer] = []
    deadline = time.monotonic() + within
    with selectors.DefaultSelector() as selector:
        try:
            for request in (request for _, request in zip(range(connections), requests, strict=False)):
                exchange = _Exchange(port)
                selector.register(exchange.socket, selectors.EVENT_READ, exchange)
                exchange.send(request)
            while len(answers) < len(bodies):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{len(bodies) - len(answers)} orders are not answered after {within:g} s")
                for key, _ in selector.select(timeout=1):
                    answer = key.data.receive()
                    if answer is None:
                        continue
                    answers.append(answer)
                    if request := next(requests, b""):
                        key.data.send(request)
        finally:
            for key in list(selector.get_map().values()):
                key.data.socket.close()
    return answers


def _request(port: int, path: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Accept: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
