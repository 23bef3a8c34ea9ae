"""Metrics and logs of a real gunicorn with two workers."""

import fcntl
import json
import os
import re
import signal
import socket
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from observability.tests.gunicorn import Gunicorn, gunicorn


@pytest.fixture
def server():
    with gunicorn(settings="observability.tests.settings") as server:
        yield server


def get(server: Gunicorn, path: str, **headers: str) -> httpx.Response:
    # A connection of its own each time, so that either worker may take it.
    return httpx.get(server.url + path, headers=headers, timeout=30)


def count(server: Gunicorn, name: str, **labels: str) -> float | None:
    samples = [
        sample
        for family in text_string_to_metric_families(get(server, "/metrics").text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert len(samples) <= 1, f"one series, not one per worker: {samples}"
    return samples[0].value if samples else None


def ask_both_workers(server: Gunicorn) -> tuple[int, set[int]]:
    """Sends requests until both workers have answered. How many it took, and the workers' pids."""
    pids: set[int] = set()
    for sent in range(1, 501):
        pids.add(get(server, f"/pids/{sent}").json()["pid"])
        if len(pids) == 2:
            return sent, pids
    pytest.fail("one worker took 500 requests")


def test_metrics_are_those_of_all_workers_whichever_answers_and_whichever_has_died(server):
    sent, pids = ask_both_workers(server)
    labels = {"method": "GET", "route": "/pids/<str:name>"}

    for _ in range(10):
        assert count(server, "http_requests_total", status="200", **labels) == sent
    assert count(server, "http_request_duration_seconds_count", **labels) == sent
    assert count(server, "http_request_duration_seconds_bucket", le="+Inf", **labels) == sent

    os.kill(pids.pop(), signal.SIGKILL)
    server.wait_for("Booting worker", times=3)
    get(server, "/pids/after")
    assert count(server, "http_requests_total", status="200", **labels) == sent + 1


def test_every_line_is_json_and_gunicorns_own_lines_too(server):
    get(server, "/ids", **{"X-Request-ID": "my-request"})
    get(server, "/fail")
    server.wait_for("request", times=2)
    assert server.stop() == 0

    lines = [json.loads(line) for line in server.lines]
    assert all(
        line.keys() >= {"time", "level", "logger", "message", "service", "process", "correlation_id"} for line in lines
    )
    assert {(line["service"], line["process"]) for line in lines} == {("things", "web")}
    loggers = {line["logger"] for line in lines}
    assert "gunicorn.error" in loggers
    assert "gunicorn.access" not in loggers, "the request has a line of its own already"
    (mine,) = [line for line in lines if line["correlation_id"] == "my-request"]
    assert (mine["message"], mine["route"], mine["status"]) == ("request", "/ids", 200)
    (failure,) = [line for line in lines if "traceback" in line]
    assert "meant to\nfail" in failure["traceback"]
    assert failure["correlation_id"] in {line["correlation_id"] for line in lines if line.get("status") == 500}


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


def test_the_workers_counts_go_with_the_master_also_those_of_one_that_was_killed(tmp_path):
    orphan, other = tmp_path / "gunicorn-metrics-orphan", tmp_path / "gunicorn-metrics-other"
    for directory in (orphan, other):
        directory.mkdir()
    owner = os.open(other, os.O_RDONLY)
    fcntl.flock(owner, fcntl.LOCK_EX)
    with gunicorn(settings="observability.tests.settings", TMPDIR=str(tmp_path)) as server:
        get(server, "/ids")
        (mine,) = {path.parent for path in tmp_path.glob("gunicorn-metrics-*/*.db")}
        assert not orphan.exists()
        with gunicorn(settings="observability.tests.settings", TMPDIR=str(tmp_path)) as second:
            get(second, "/ids")
            assert mine.exists(), "its owner is alive: the first server"
            assert second.stop() == 0
        assert server.stop() == 0
    assert not mine.exists()
    assert other.exists(), "its owner is alive: this test"
    os.close(owner)
    with gunicorn(settings="observability.tests.settings", TMPDIR=str(tmp_path)) as third:
        get(third, "/ids")
        assert not other.exists()


def test_a_named_directory_is_emptied_of_former_counts(tmp_path):
    (tmp_path / "counter_1.db").write_bytes(b"of yesterday")
    directory = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    with gunicorn(settings="observability.tests.settings", **directory) as server:
        get(server, "/ids")
        assert count(server, "http_requests_total", route="/ids") == 1
    assert not (tmp_path / "counter_1.db").exists()


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
