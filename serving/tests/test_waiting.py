"""Requests that wait: parked by a real gunicorn of few threads, and in their thread where no server offers more."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from http.client import HTTPResponse
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connection
from django.test import RequestFactory
from gunicorn.config import Config  # type: ignore[import-untyped]
from gunicorn.workers.gthread import PollableMethodQueue, TConn  # type: ignore[import-untyped]

from serving import waiting
from serving.parked import PARKED, PARKING, WAITED, Parked
from serving.parking import ParkingWorker, _Asker, _beginning, _Leave, _Place
from serving.tests import waiting as views
from serving.tests.gunicorn import Gunicorn, count, get, gunicorn

LONG = "300"
"""Seconds that nobody lives to see."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "files"
    made.mkdir()
    return made


@contextmanager
def serve(folder: Path, **environment: str) -> Iterator[Gunicorn]:
    with gunicorn(settings="observability.tests.settings", **{views.FOLDER: str(folder), **environment}) as server:
        yield server


@pytest.fixture
def server(folder: Path) -> Iterator[Gunicorn]:
    with serve(folder) as server:
        yield server


class Client:
    """A connection over which bytes are sent and answers read."""

    def __init__(self, server: Gunicorn) -> None:
        where = urlsplit(server.url)
        assert where.hostname
        assert where.port
        self.socket = socket.create_connection((where.hostname, where.port), timeout=60)

    def ask(self, path: str, version: str = "1.1", more: str = "", body: str = "") -> "Client":
        head = f"GET {path} HTTP/{version}\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n{more}\r\n{body}"
        self.socket.sendall(head.encode())
        return self

    def answer(self) -> HTTPResponse:
        response = HTTPResponse(self.socket, method="GET")
        response.begin()
        return response

    def close(self) -> None:
        self.socket.close()


def eventually(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not look():
        assert time.monotonic() < deadline, "not within a minute"
        time.sleep(0.05)


def clients(server: Gunicorn) -> float:
    return count(server, "http_waiting_clients") or 0


def ask(stack: ExitStack, server: Gunicorn, path: str, number: int) -> list[Client]:
    """So many clients, all of which wait."""
    asking = []
    for _ in range(number):
        client = Client(server)
        stack.callback(client.close)
        asking.append(client.ask(path))
    eventually(lambda: clients(server) == number)
    return asking


def test_hundreds_wait_beside_those_who_do_not_and_all_are_answered(server, folder):
    with ExitStack() as stack:
        waiting_clients = ask(stack, server, f"/wait/a-file?seconds={LONG}", 300)

        # Four threads in all, and none of them is taken.
        assert get(server, "/ids").status_code == 200
        assert clients(server) == 300

        (folder / "a-file").touch()
        answers = [client.answer() for client in waiting_clients]
        assert {answer.status for answer in answers} == {200}
        assert all(b'"there": true' in answer.read() for answer in answers)
        assert clients(server) == 0


def test_one_whose_time_is_up_is_answered_as_it_is(server):
    assert get(server, "/wait/a-file?seconds=0.3").json()["there"] is False
    assert get(server, "/wait/a-file").json()["there"] is False


def test_what_is_there_is_not_waited_for(server, folder):
    (folder / "a-file").touch()

    assert get(server, f"/wait/a-file?seconds={LONG}").json()["there"] is True


def test_it_is_one_request_with_one_line_in_the_log_and_its_wait_in_no_metric(server, folder):
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(get, server, f"/wait/a-file?seconds={LONG}", **{"X-Request-ID": "waiting"})
        eventually(lambda: clients(server) == 1)
        time.sleep(0.5)
        (folder / "a-file").touch()
        assert answer.result().headers["X-Request-ID"] == "waiting"

    server.wait_for("request", times=1)
    [line] = [line for line in server.wait_for("request", times=1) if line["correlation_id"] == "waiting"]
    assert line["duration_ms"] >= line["waited_ms"] >= 500
    labels = {"method": "GET", "route": "/wait/<str:name>"}
    assert count(server, "http_requests_total", status="200", **labels) == 1
    took = count(server, "http_request_duration_seconds_sum", **labels)
    assert took is not None
    assert took * 1000 <= line["duration_ms"] - line["waited_ms"] + 1


def test_the_connection_is_kept_and_the_next_request_waits_for_its_turn(server, folder):
    client = Client(server)
    client.ask(f"/wait/a-file?seconds={LONG}", body="mine").ask("/wait/other", body="next")
    eventually(lambda: clients(server) == 1)
    (folder / "a-file").touch()

    bodies = b""
    while bodies.count(b"\r\n0\r\n\r\n") < 2:
        part = client.socket.recv(65536)
        assert part, bodies
        bodies += part

    first, second = bodies.split(b"HTTP/1.1 200 OK")[1:]
    assert b'"there": true' in first
    assert b'"body": "mine"' in first
    assert b'"there": false' in second
    assert b'"body": "next"' in second
    client.ask("/ids")
    assert client.answer().status == 200
    client.close()


def test_a_client_that_leaves_is_forgotten(server):
    with ExitStack() as stack:
        leaving, *staying = ask(stack, server, f"/wait/a-file?seconds={LONG}", 5)
        leaving.close()
        eventually(lambda: clients(server) == len(staying))
        server.wait_for("client left while it waited")


def test_a_client_of_an_old_kind_gets_its_answer_too(server, folder):
    client = Client(server).ask(f"/wait/a-file?seconds={LONG}", version="1.0")
    stream = Client(server).ask(f"/stream/a-file?seconds={LONG}", version="1.0")
    eventually(lambda: clients(server) == 2)
    (folder / "a-file").touch()

    assert b'"there": true' in client.answer().read()
    assert stream.answer().read() == b"first,there"


def test_one_too_many_is_told_to_come_again(folder):
    with serve(folder, WAITING_MAX_CLIENTS="1") as server, ExitStack() as stack:
        while clients(server) < 2:  # one for each worker
            client = Client(server).ask(f"/wait/a-file?seconds={LONG}")
            stack.callback(client.close)
            time.sleep(0.1)

        assert get(server, f"/wait/a-file?seconds={LONG}").status_code == 503
        assert get(server, "/wait/a-file").status_code == 200


def test_a_server_that_leaves_answers_all_who_wait_and_takes_no_more(server):
    with ExitStack() as stack:
        waiting_clients = ask(stack, server, f"/wait/a-file?seconds={LONG}", 40)
        streams = [Client(server).ask(f"/stream/a-file?seconds={LONG}") for _ in range(10)]
        eventually(lambda: clients(server) == 50)

        assert server.stop() == 0

        assert all(b'"there": false' in client.answer().read() for client in waiting_clients)
        assert all(client.answer().read() == b"first,not there" for client in streams)


def test_while_nobody_can_tell_what_is_ready_they_are_answered_when_their_time_is_up(server, folder):
    (folder / "broken").touch()
    assert get(server, "/wait/a-file?seconds=0.5").json()["there"] is False
    server.wait_for("cannot ask who may stop waiting")

    with ThreadPoolExecutor() as pool:
        answer = pool.submit(get, server, f"/wait/a-file?seconds={LONG}")
        eventually(lambda: clients(server) == 1)
        (folder / "a-file").touch()
        (folder / "broken").unlink()
        assert answer.result().json()["there"] is True


def test_a_stream_begins_at_once_and_goes_on_when_it_is_time(server, folder):
    client = Client(server).ask(f"/stream/a-file?seconds={LONG}")
    answer = client.answer()
    assert answer.status == 200
    assert answer.read(6) == b"first,"
    eventually(lambda: clients(server) == 1)
    (folder / "a-file").touch()

    assert answer.read() == b"there"

    assert clients(server) == 0
    client.ask("/ids")
    assert client.answer().status == 200
    [line] = [line for line in server.wait_for("request") if line["route"] == "/stream/<str:name>"]
    assert line["status"] == 200


def test_a_stream_ends_when_its_time_is_up(server):
    assert get(server, "/stream/a-file?seconds=0.3").text == "first,not there"


def test_a_stream_that_may_not_go_on_is_cut_off(server, folder):
    client = Client(server).ask(f"/stream/a-file?seconds={LONG}")
    eventually(lambda: clients(server) == 1)
    for name in ("forbidden", "a-file"):
        (folder / name).touch()

    received = b""
    while part := client.socket.recv(65536):
        received += part
    assert received.endswith(b"first,\r\n")
    assert b"secret" not in received


def test_an_answer_that_is_no_stream_after_all_ends_the_request(server):
    client = Client(server)
    answer = client.ask(f"/stream/a-file?seconds={LONG}&instead=something").answer()
    assert answer.read() == b"something"

    assert client.ask("/ids").answer().status == 200
    assert clients(server) == 0
    client.close()


def test_a_stream_shows_that_it_lives_and_one_who_does_not_read_is_dropped(folder):
    with serve(folder, HEARTBEAT_BYTES="3000000", HEARTBEAT_SECONDS="0.2") as server:
        client = Client(server).ask(f"/stream/a-file?seconds={LONG}")
        server.wait_for("client left while it waited")
        eventually(lambda: clients(server) == 0)
        client.close()
    with serve(folder, HEARTBEAT_BYTES="3", HEARTBEAT_SECONDS="0.1") as server:
        client = Client(server).ask(f"/stream/a-file?seconds={LONG}")
        answer = client.answer()
        assert answer.read(6 + 3 * 3) == b"first," + 3 * b"..."
        (folder / "a-file").touch()
        assert answer.read().strip(b".") == b"there"
        client.close()


# --- Where the server offers nothing


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Path:
    monkeypatch.setenv(views.FOLDER, str(folder))
    settings.WAITING_READY = "serving.tests.waiting.ready"
    return folder


def test_without_an_offer_it_waits_in_its_thread(here):
    request = RequestFactory().get("/wait/a-file?seconds=60")
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(views.wait, request, "a-file")
        eventually(lambda: waiting.WAITING._value.get() == 1)
        (here / "a-file").touch()
        assert b'"there": true' in answer.result().content
    assert request.META[WAITED] > 0
    assert PARKED not in request.META
    assert waiting.WAITING._value.get() == 0


def test_without_an_offer_it_does_not_wait_longer_than_it_was_told(here):
    request = RequestFactory().get("/wait/a-file?seconds=0.1")

    assert b'"there": false' in views.wait(request, "a-file").content


def test_without_an_offer_a_stream_says_that_it_lives(here, monkeypatch):
    monkeypatch.setattr(waiting, "HEARTBEAT_SECONDS", 0.0)
    parts = waiting.stream(
        RequestFactory().get("/"), "a-file", seconds=60, first=b"first", last=partial(bytes, b"last")
    )
    told = iter(parts)
    assert [next(told), next(told), next(told)] == [b"first", waiting.HEARTBEAT, waiting.HEARTBEAT]
    (here / "a-file").touch()
    assert list(told)[-1] == b"last"


class Leaving:
    parked = 0
    leaving = True


def test_where_the_server_is_about_to_leave_nobody_begins_to_wait(here):
    request = RequestFactory().get(f"/wait/a-file?seconds={LONG}")
    request.META[PARKING] = Leaving()

    assert b'"there": false' in views.wait(request, "a-file").content
    assert list(waiting.stream(request, "a-file", seconds=300, first=b"first", last=bytes)) == [b"first"]
    assert PARKED not in request.META


class _Worker(ParkingWorker):
    """A worker whose connections somebody else has made, and that hands nothing to threads."""

    def __init__(self) -> None:
        super().__init__(1, os.getppid(), [], None, 30, Config(), logging.getLogger())
        self.poller = DefaultSelector()
        self.method_queue = PollableMethodQueue()
        self.method_queue.init()
        self.poller.register(self.method_queue.fileno(), EVENT_READ, self.method_queue.run_callbacks)
        self.enqueued: list[Any] = []

    def enqueue_req(self, conn: Any) -> None:
        self.enqueued.append(conn)

    def connect(self) -> tuple[TConn, socket.socket]:
        ours, theirs = socket.socketpair()
        theirs.settimeout(5)
        self.nr_conns += 1
        return TConn(self.cfg, ours, ("127.0.0.1", 1), ("127.0.0.1", 2)), theirs

    def park(self, conn: TConn, *, seconds: float = 60) -> _Place:
        self._gauge = waiting.WAITING
        self._asker = _Asker(ready=lambda keys: (), keys=tuple, found=self._wake_all)  # not started: it asks nobody
        place = _Place(Parked("key", time.monotonic() + seconds), time.monotonic(), "200 OK", chunked=False)
        self._park(conn, place)
        return place


@pytest.fixture
def worker() -> _Worker:
    return _Worker()


@pytest.mark.parametrize("leaves", [True, False], ids=["leaves", "sends its next request"])
def test_a_client_that_stirs_in_the_very_moment_it_is_woken_harms_nobody(worker: _Worker, leaves: bool) -> None:
    conn, theirs = worker.connect()
    worker.park(conn)
    worker.method_queue.defer(worker._wake_all, ["key"])
    theirs.close() if leaves else theirs.sendall(b"GET / HTTP/1.1")

    worker.wait_for_and_dispatch_events(5)

    assert worker.enqueued == [conn]
    assert not worker._by_key, "the database is not asked about it any more"
    theirs.close()
    conn.close()


def test_a_connection_that_is_closed_stays_while_the_client_still_sends(worker: _Worker) -> None:
    conn, theirs = worker.connect()

    worker._let_go(conn)
    theirs.sendall(b"the rest of a long body")
    worker.wait_for_and_dispatch_events(5)

    assert theirs.recv(1) == b""
    assert worker._closing
    theirs.close()
    worker.wait_for_and_dispatch_events(5)
    assert not worker._closing
    assert worker.nr_conns == 0
    assert conn.sock.fileno() == -1


def test_a_client_that_leaves_while_it_waits_makes_room_for_another(worker: _Worker) -> None:
    conn, theirs = worker.connect()
    worker.park(conn)

    theirs.close()
    worker.wait_for_and_dispatch_events(5)

    assert worker.nr_conns == 0
    assert (worker._places, worker._by_key) == ({}, {})


def test_a_client_that_sends_its_next_request_early_is_looked_at_once(worker: _Worker) -> None:
    conn, theirs = worker.connect()
    worker.park(conn)

    theirs.sendall(b"GET / HTTP/1.1")
    worker.wait_for_and_dispatch_events(5)

    assert conn.sock not in worker.poller.get_map(), "it would be readable all the time"
    worker._wake_all(["key"])
    assert worker.enqueued == [conn]
    theirs.close()
    conn.close()


def test_the_time_of_a_request_that_was_answered_is_not_that_of_the_next_one(worker: _Worker) -> None:
    conn, theirs = worker.connect()
    worker.park(conn, seconds=0)
    worker._wake_all(["key"])
    place = worker.park(conn)

    worker._look_at_the_time()

    assert worker._places == {conn: place}
    assert worker.enqueued == [conn]
    theirs.close()
    worker._drop(conn)


def test_those_who_are_woken_together_get_the_threads_a_few_at_a_time(worker: _Worker) -> None:
    clients = [worker.connect() for _ in range(3)]
    for conn, _ in clients:
        worker.park(conn)
    worker._wake_all(["key"])
    for number, (_, theirs) in enumerate(clients, 1):
        assert len(worker.enqueued) == number
        answered: Future[bool] = Future()
        answered.set_result(False)
        theirs.close()
        worker.finish_request(worker.enqueued[-1], answered)
    assert not worker._in_hand


def test_what_has_begun_a_stream_is_closed_when_it_is_parked() -> None:
    closed: list[bool] = []

    class Beginning:
        def __iter__(self) -> Iterator[bytes]:
            yield b"first"

        def close(self) -> None:
            closed.append(True)

    place = _Place(Parked("key", 0.0), 0.0, "200 OK", chunked=False)
    parts = _beginning(Beginning(), place)
    assert next(iter(parts)) == b"first"
    with pytest.raises(_Leave):
        list(parts)
    assert closed == [True]


@pytest.mark.django_db(transaction=True)
def test_who_asks_connects_again_after_the_database_was_away() -> None:
    asked: list[int] = []
    enough = threading.Event()

    def keys() -> tuple[str, ...]:
        if enough.is_set():
            connection.close()
            raise KeyboardInterrupt  # nothing else ends it
        return ("key",)

    def ready(keys: Collection[Hashable]) -> Collection[Hashable]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            asked.append(cursor.fetchone()[0])
        return ()

    asker = _Asker(ready=ready, keys=keys, found=lambda keys: None)
    asker.somebody_waits.set()
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(asker.run)
        try:
            eventually(lambda: bool(asked))
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(%s)", asked[:1])
            eventually(lambda: asked[-1] != asked[0])
        finally:
            enough.set()
    assert isinstance(ended.exception(), KeyboardInterrupt)
