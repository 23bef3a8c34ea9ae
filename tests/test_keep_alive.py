"""Many requests over one connection, as a shop's HTTP library sends them: every one is answered, in the same words."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.system import System, new_order


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Line:
    """A connection on which a test sends and reads bytes."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self.host = place.netloc
        self.socket = socket.create_connection((place.hostname, place.port), timeout=30)
        self._received = b""

    def request(self, method: str = "POST", path: str = "/orders", *headers: str, raw: bytes | None = None) -> bytes:
        body = json.dumps(new_order()).encode() if raw is None else raw
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}", "Accept: */*", *headers]
        if method == "POST":
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + (body if method == "POST" else b"")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> Answer:
        while b"\r\n\r\n" not in self._received:
            self._more()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        while len(self._received) < int(headers["Content-Length"]):
            self._more()
        length = int(headers["Content-Length"])
        body, self._received = self._received[:length], self._received[length:]
        return Answer(int(first.split()[1]), headers, body)

    def _more(self) -> None:
        data = self.socket.recv(65536)
        assert data, f"the connection was closed after {self._received!r}"
        self._received += data


@contextmanager
def line(system: System) -> Iterator[Line]:
    opened = Line(system.url("order-web"))
    try:
        yield opened
    finally:
        opened.socket.close()


def test_the_first_answer_and_those_that_follow_look_the_same(system: System) -> None:
    with line(system) as one:
        answers = []
        for _ in range(3):
            one.send(one.request())
            answers.append(one.answer())

    assert [answer.status for answer in answers] == [201, 201, 201]
    first, *others = (
        {name: value for name, value in answer.headers.items() if name not in ("Date", "Location", "X-Request-ID")}
        for answer in answers
    )
    assert all(headers == first for headers in others)
    assert len({json.loads(answer.body)["id"] for answer in answers}) == 3


def test_requests_sent_ahead_are_answered_in_order(system: System) -> None:
    with line(system) as one:
        for number in range(2):
            ids = [f"ahead-{number}-{place}" for place in range(5)]
            one.send(b"".join(one.request("POST", "/orders", f"X-Request-ID: {id}") for id in ids))

            assert [one.answer().headers["X-Request-ID"] for _ in ids] == ids


def test_a_request_that_comes_in_pieces_is_one_request(system: System) -> None:
    with line(system) as one:
        for _ in range(2):
            data = one.request()
            for start in range(0, len(data), 40):
                one.send(data[start : start + 40])

            assert one.answer().status == 201


def test_plain_and_other_requests_may_take_turns(system: System) -> None:
    with line(system) as one:
        one.send(one.request())
        location = one.answer().headers["Location"]
        one.send(
            one.request("GET", location)
            + one.request("POST", "/orders", raw=b"{")
            + one.request("GET", "/orders/none")
            + one.request("GET", "/orders?limit=1")
            + one.request("GET", location)
            + 2 * one.request("POST", "/orders", "Idempotency-Key: turn")
        )
        answers = [one.answer() for _ in range(7)]

    assert [answer.status for answer in answers] == [200, 400, 404, 200, 200, 201, 201]
    assert answers[-1].headers["Idempotent-Replayed"] == "true"
    assert json.loads(answers[0].body)["id"] == json.loads(answers[4].body)["id"] == location.rpartition("/")[2]


def test_what_is_no_http_after_good_requests_is_refused_and_ends_the_connection(system: System) -> None:
    with line(system) as one:
        one.send(one.request() + one.request() + b"POST /orders HTTP/1.1\r\nHost: x\nHost: y\r\n\r\n")

        assert [one.answer().status for _ in range(3)] == [201, 201, 400]
        assert one.socket.recv(1) == b""


def test_a_service_that_is_stopped_closes_the_connections_it_has_kept(system: System) -> None:
    with line(system) as one:
        for _ in range(2):
            one.send(one.request())
            one.answer()

        assert system.stop("order-web").code == 0
        assert one.socket.recv(1) == b""
