"""How a real gunicorn of few threads treats its connections."""

import json
import os
import re
import signal
import socket
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import httpx
import pytest

from serving.tests.gunicorn import ask_both_workers, get, gunicorn


@pytest.fixture
def server():
    with gunicorn(settings="observability.tests.settings") as server:
        yield server


@pytest.mark.parametrize(
    "sent",
    [
        "GET /ids HTTP/1.1\r\nHost: 127.0.0.1\r\n",
        "POST /bodies HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 500\r\n\r\nx",
        "GET /large HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ],
    ids=["amid the head", "amid the body", "amid the answer"],
)
def test_clients_that_stop_in_the_middle_of_a_request_hold_no_thread_for_ever(sent):
    with gunicorn(settings="observability.tests.settings", PATIENCE="0.5") as server, ExitStack() as stack:
        where = urlsplit(server.url)
        silent = [
            stack.enter_context(socket.create_connection((where.hostname, where.port), timeout=60)) for _ in range(10)
        ]
        for client in silent:
            client.sendall(sent.encode())
        assert get(server, "/ids").status_code == 200, "there were four threads in all"
        for client in silent:
            while client.recv(1000):
                pass  # until it is closed
        assert server.stop() == 0
    assert not [line for line in server.lines if "traceback" in json.loads(line)]


def test_clients_that_connect_and_say_nothing_hold_up_nobody():
    """Each takes a place among the worker's connections, and no thread: five seconds of one would add up to minutes."""
    with gunicorn(settings="observability.tests.settings") as server, ExitStack() as stack:
        where = urlsplit(server.url)
        idle = [
            stack.enter_context(socket.create_connection((where.hostname, where.port), timeout=60)) for _ in range(100)
        ]
        assert httpx.get(server.url + "/ids", timeout=10).status_code == 200
        for client in idle:
            client.sendall(b"GET /ids HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert [client.recv(1000)[:13] for client in idle] == [b"HTTP/1.1 200 "] * 100


@pytest.mark.parametrize(
    "sent",
    ["GET /ids HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", "GET /ids HTTP/1.1\r\nno header\r\n\r\nmore"],
    ids=["after an answer", "after a refusal"],
)
def test_clients_that_do_not_close_hold_up_nobody(sent):
    """A worker that waited two seconds for each of them would be busy for minutes."""
    with gunicorn(settings="observability.tests.settings") as server, ExitStack() as stack:
        where = urlsplit(server.url)
        idle = [
            stack.enter_context(socket.create_connection((where.hostname, where.port), timeout=60)) for _ in range(250)
        ]
        for client in idle:
            client.sendall(sent.encode())
        for client in idle[::25]:
            assert client.recv(1000).startswith(b"HTTP/1.1 ")
            assert httpx.get(server.url + "/ids", timeout=10).status_code == 200
        for client in idle:
            while client.recv(1000):
                pass  # until the server has closed its side


def test_a_thread_that_stays_with_a_connection_is_missed_by_no_other(server):
    with ExitStack() as stack:
        # More than there are threads, and each of them kept alive.
        clients = [stack.enter_context(httpx.Client(base_url=server.url, timeout=30)) for _ in range(10)]
        for _ in range(20):
            assert [client.get("/ids").status_code for client in clients] == [200] * 10


def test_requests_that_are_sent_before_their_turn_are_answered_in_turn(server):
    where = urlsplit(server.url)
    request = b"GET /ids HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Request-ID: number-%d\r\n\r\n"
    with socket.create_connection((where.hostname, where.port), timeout=30) as connection:
        connection.sendall(b"".join(request % number for number in range(8)))
        answer = b""
        while answer.count(b'"correlation_id"') < 8:
            answer += connection.recv(65536)
    assert re.findall(rb'"correlation_id": "(.*?)"', answer) == [b"number-%d" % number for number in range(8)]


def test_a_connection_that_is_waited_for_does_not_hold_up_the_end(server):
    with httpx.Client(base_url=server.url, timeout=30) as client:
        client.get("/ids")
        assert server.stop() == 0


def test_clients_that_say_nothing_do_not_hold_up_the_end():
    settings = {"settings": "observability.tests.settings", "GUNICORN_CMD_ARGS": "--keep-alive=75"}
    with gunicorn(**settings) as server, ExitStack() as stack:
        where = urlsplit(server.url)
        idle, busy = (
            stack.enter_context(socket.create_connection((where.hostname, where.port), timeout=60)) for _ in range(2)
        )
        ask_both_workers(server)  # so that they have been let in
        busy.sendall(b"GET /ids HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        server.begin_to_stop()
        assert idle.recv(1) == b""
        busy.sendall(b"\r\n")
        assert busy.recv(1000).startswith(b"HTTP/1.1 200 "), "the idle one has been sent away before"


def test_a_server_that_leaves_refuses_who_comes_and_answers_who_is_there(server):
    where = urlsplit(server.url)
    ask_both_workers(server)
    with socket.create_connection((where.hostname, where.port), timeout=60) as client:
        client.sendall(b"GET /ids HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        server.begin_to_stop()
        with suppress(ConnectionRefusedError):
            while True:
                with socket.create_connection((where.hostname, where.port), timeout=60) as late:
                    late.sendall(b"GET /ids HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                    assert late.recv(1000).startswith(b"HTTP/1.1 200 "), "let in, it is answered"
        client.sendall(b"\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_who_stands_before_the_door_of_a_server_that_leaves_is_let_in(server):
    where = urlsplit(server.url)
    request = b"GET /ids HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    _, workers = ask_both_workers(server)
    with ExitStack() as stack:
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        clients = [
            stack.enter_context(socket.create_connection((where.hostname, where.port), timeout=60)) for _ in range(20)
        ]
        for client in clients:
            client.sendall(request)
        server.begin_to_stop()
        for worker in workers:
            os.kill(worker, signal.SIGTERM)  # as the master is about to do: so it is the first thing they hear
            os.kill(worker, signal.SIGCONT)
        assert [client.recv(1000)[:13] for client in clients] == [b"HTTP/1.1 200 "] * 20
