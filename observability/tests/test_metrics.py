import socket

import httpx
import pytest
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import generate_latest

from observability.metrics import observe_each, serve_metrics
from observability.tests.checks import Database

CHECKS = "observability.tests.checks."


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("amounts", [[], [0.25], [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, float("inf"), 1.0, -1.0]])
def test_a_batch_is_observed_as_its_amounts_would_be(amounts):
    together, singly = CollectorRegistry(), CollectorRegistry()
    observe_each(_seconds(together), amounts)
    one_by_one = _seconds(singly)
    for amount in amounts:
        one_by_one.observe(amount)
    assert _lines(together) == _lines(singly)


def _seconds(registry: CollectorRegistry) -> Histogram:
    return Histogram("seconds", "Seconds.", ["work"], buckets=(0.5, 1, 2), registry=registry).labels("one")


def _lines(registry: CollectorRegistry) -> list[str]:
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


def test_it_is_prometheus_text(client):
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain")
    assert "# TYPE http_requests_total counter" in response.text


@pytest.mark.parametrize("accept", ["garbage", "application/openmetrics-text; version=x", ";;;", "text/html"])
def test_no_accept_header_breaks_it(client, accept):
    assert client.get("/metrics", headers={"Accept": accept}).status_code == 200


def test_collectors_are_read_at_each_scrape(client, settings):
    settings.METRICS_COLLECTORS = [CHECKS + "Apples"]
    for _ in range(2):
        assert "\napples 3.0\n" in client.get("/metrics").text


def test_a_collector_that_fails_shows_as_failed_and_takes_nothing_else_with_it(client, settings, caplog):
    settings.METRICS_COLLECTORS = [CHECKS + "Rotten", CHECKS + "Apples", "no.such.Collector"]
    text = client.get("/metrics").text
    assert "\napples 3.0\n" in text
    assert "half_an_apple" not in text
    assert f'metrics_collector_failed{{collector="{CHECKS}Rotten"}} 1.0' in text
    assert f'metrics_collector_failed{{collector="{CHECKS}Apples"}} 0.0' in text
    assert 'metrics_collector_failed{collector="no.such.Collector"} 1.0' in text
    assert len([record for record in caplog.records if record.getMessage() == "metrics collector failed"]) == 2


def test_a_process_without_http_serves_its_metrics_on_a_port_of_their_own(settings, free_port):
    settings.METRICS_COLLECTORS = [CHECKS + "Apples"]
    serve_metrics(free_port)
    for _ in range(2):
        text = httpx.get(f"http://127.0.0.1:{free_port}/metrics").text
        assert "\napples 3.0\n" in text
        assert "http_requests_total" in text


@pytest.mark.django_db
def test_a_scrape_of_its_own_thread_leaves_no_database_connection_behind(settings, free_port):
    settings.METRICS_COLLECTORS = [CHECKS + "Database"]
    Database.used.clear()
    serve_metrics(free_port)
    for _ in range(2):
        assert "\nseven 7.0\n" in httpx.get(f"http://127.0.0.1:{free_port}/metrics").text
    assert [used.closed for used in Database.used] == [True, True]


def test_a_taken_port_is_an_error_at_once():
    with socket.create_server(("", 0)) as taken, pytest.raises(OSError, match="in use"):
        serve_metrics(taken.getsockname()[1])
