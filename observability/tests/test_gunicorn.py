"""Metrics and logs of a real gunicorn with two workers."""

import fcntl
import json
import os
import signal

import httpx
import pytest

from serving.tests.gunicorn import ask_both_workers, count, get, gunicorn


@pytest.fixture
def server():
    with gunicorn(settings="observability.tests.settings") as server:
        yield server


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


def test_a_head_is_logged_as_any_request_is(server):
    assert httpx.head(server.url + "/ids", timeout=30).status_code == 200
    (line,) = server.wait_for("request")
    assert line["method"] == "HEAD"
    assert server.stop() == 0

    assert {json.loads(line)["level"] for line in server.lines} == {"INFO"}


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
