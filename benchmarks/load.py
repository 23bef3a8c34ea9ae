"""Posts orders over many connections and measures their times, with far less CPU than the measured system takes."""

import json
import random
import selectors
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

FINAL = (b'"completed"', b'"failed"')
LOOK_INTERVAL = 0.005
"""Seconds between two looks at an order that is watched until it is final."""
MOST_WATCHED = 3
"""How many orders are watched at the same time. With more, the watching itself would be measured."""
_MOST_CONNECTIONS = 200


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    seconds: float
    """From the first byte sent, or from when it was due, to the last byte received."""


class _Exchange:
    """One keep-alive connection, and the request that is under way on it."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.about: Any = None
        """What the request under way is about."""
        self._received = b""
        self._started = 0.0

    def send(self, request: bytes, *, about: Any = None, since: float | None = None) -> None:
        self.about = about
        self._received = b""
        self._started = time.perf_counter() if since is None else since
        self.socket.sendall(request)

    def receive(self) -> Answer | None:
        """To be called when there is something to read. Returns None while the answer is not complete."""
        chunk = self.socket.recv(262144)
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


@cache
def new_orders(number: int) -> list[bytes]:
    """Bodies of orders with two items, always the same ones for the same number."""
    numbers = random.Random(number)
    return [
        json.dumps(
            {
                "customer_id": f"customer-{customer}",
                "items": [
                    {
                        "product_id": f"product-{numbers.randrange(1000)}",
                        "quantity": numbers.randrange(1, 6),
                        "price": numbers.randrange(100, 10_000) / 100,
                    }
                    for _ in range(2)
                ],
            }
        ).encode()
        for customer in range(number)
    ]


def post_all(
    port: int, bodies: Sequence[bytes], *, connections: int, within: float, path: str = "/orders"
) -> list[Answer]:
    """Posts each body once. Each connection posts the next one as soon as it has its answer.

    Raises TimeoutError when that takes longer than `within` seconds, ConnectionError when a connection breaks.
    """
    return _ask_all(port, [_post(port, path, body) for body in bodies], connections, within)


def get_all(port: int, paths: Sequence[str], *, connections: int, within: float) -> list[Answer]:
    """Like `post_all`, with a GET of each path."""
    return _ask_all(port, [_get(port, path) for path in paths], connections, within)


def _ask_all(port: int, asked: Sequence[bytes], connections: int, within: float) -> list[Answer]:
    requests = iter(asked)
    answers: list[Answer] = []
    deadline = time.monotonic() + within
    with selectors.DefaultSelector() as selector:
        try:
            for _, request in zip(range(connections), requests, strict=False):
                exchange = _Exchange(port)
                selector.register(exchange.socket, selectors.EVENT_READ, exchange)
                exchange.send(request)
            while len(answers) < len(asked):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{len(asked) - len(answers)} requests are not answered after {within:g} s")
                for key, _ in selector.select(timeout=1):
                    answer = key.data.receive()
                    if answer is None:
                        continue
                    answers.append(answer)
                    if request := next(requests, b""):
                        key.data.send(request)
        finally:
            _close_all(selector)
    return answers


class Waiters:
    """Connections, each with one GET under way, which the service may answer at any time."""

    def __init__(self, port: int, paths: Sequence[str]) -> None:
        self._selector = selectors.DefaultSelector()
        self._number = len(paths)
        for path in paths:
            exchange = _Exchange(port)
            self._selector.register(exchange.socket, selectors.EVENT_READ, exchange)
            exchange.send(_get(port, path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _close_all(self._selector)
        self._selector.close()

    def answers(self, *, within: float) -> list[tuple[float, Answer]]:
        """All answers, each with the time.time() of its arrival. Raises TimeoutError."""
        answers: list[tuple[float, Answer]] = []
        deadline = time.monotonic() + within
        while len(answers) < self._number:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._number - len(answers)} clients still wait after {within:g} s")
            for key, _ in self._selector.select(timeout=1):
                if answer := key.data.receive():
                    answers.append((time.time(), answer))
        return answers


@dataclass(slots=True)
class _Watched:
    order_id: str
    since: float
    look_at: float


class OpenLoop:
    """Posts orders when they are due, whether earlier ones are answered or not. By default watches every third one,
    a few at a time.

    `due` are seconds from the beginning. `run` raises as `post_all` does.
    """

    def __init__(self, port: int, bodies: Sequence[bytes], due: Sequence[float], *, watch: bool = True) -> None:
        self.answers: list[Answer] = []
        self.final: list[float] = []
        """For each watched order the seconds from when it was due until a GET showed it final."""
        self._port = port
        self._requests = deque(zip(due, (_post(port, "/orders", body) for body in bodies), strict=True))
        self._number = len(bodies)
        self._idle: list[_Exchange] = []
        self._opened = 0
        self._watched: list[_Watched] = []
        self._most_watched = MOST_WATCHED if watch else 0
        self._looking = 0
        # Not epoll: Python rounds its timeouts up to whole milliseconds, so each order would go out half of one late.
        self._selector = selectors.SelectSelector()
        self._phases = random.Random(1)

    def run(self, *, within: float) -> None:
        started = time.perf_counter()
        with self._selector:
            try:
                while len(self.answers) < self._number or self._watched or self._looking:
                    now = time.perf_counter()
                    if now - started > within:
                        raise TimeoutError(f"not all orders are answered and final after {within:g} s")
                    next_at = self._send_what_is_due(now, started)
                    for key, _ in self._selector.select(timeout=max(0.0, next_at - time.perf_counter())):
                        if answer := key.data.receive():
                            self._take(key.data, answer)
            finally:
                _close_all(self._selector)

    def _send_what_is_due(self, now: float, started: float) -> float:
        """Returns the time at which to call it again."""
        while self._requests and (at := started + self._requests[0][0]) <= now:
            exchange = self._free()
            if exchange is None:
                break
            exchange.send(self._requests.popleft()[1], about=at, since=at)
        for watched in [watched for watched in self._watched if watched.look_at <= now]:
            exchange = self._free()
            if exchange is None:
                break
            self._watched.remove(watched)
            self._looking += 1
            exchange.send(_get(self._port, f"/orders/{watched.order_id}"), about=watched)
        moments = [watched.look_at for watched in self._watched]
        if self._requests:
            moments.append(started + self._requests[0][0])
        return max(min(moments, default=now + 1), now + 0.0005)

    def _take(self, exchange: _Exchange, answer: Answer) -> None:
        about, now = exchange.about, time.perf_counter()
        self._idle.append(exchange)
        if isinstance(about, _Watched):
            self._looking -= 1
            if any(status in answer.body for status in FINAL):
                self.final.append(now - about.since)
            else:
                about.look_at = now + LOOK_INTERVAL
                self._watched.append(about)
            return
        self.answers.append(answer)
        if (
            answer.status == 201
            and len(self.answers) % 3 == 0
            and self._looking + len(self._watched) < self._most_watched
        ):
            first = now + self._phases.random() * LOOK_INTERVAL
            self._watched.append(_Watched(json.loads(answer.body)["id"], about, first))

    def _free(self) -> _Exchange | None:
        if self._idle:
            return self._idle.pop()
        if self._opened >= _MOST_CONNECTIONS:
            return None
        self._opened += 1
        exchange = _Exchange(self._port)
        self._selector.register(exchange.socket, selectors.EVENT_READ, exchange)
        return exchange


def poisson(rate: float, seconds: float) -> list[float]:
    """The seconds at which orders are due, as when many customers who know nothing of each other send them."""
    numbers, at, due = random.Random(7), 0.0, list[float]()
    while (at := at + numbers.expovariate(rate)) < seconds:
        due.append(at)
    return due


def _close_all(selector: selectors.BaseSelector) -> None:
    for key in list(selector.get_map().values()):
        key.data.socket.close()


def _post(port: int, path: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Accept: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _get(port: int, path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: application/json\r\n\r\n".encode()
