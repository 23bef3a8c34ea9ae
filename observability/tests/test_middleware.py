import logging

import pytest
from django.test import Client
from prometheus_client import REGISTRY

from observability.context import current_correlation_id, is_correlation_id, is_traceparent
from observability.middleware import UNMATCHED

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def client():
    return Client(raise_request_exception=False)


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.DEBUG, logger="observability.request")
    return lambda: [record for record in caplog.records if record.name == "observability.request"]


def requests(**labels: str) -> float:
    return REGISTRY.get_sample_value("http_requests_total", labels) or 0


def test_a_valid_request_id_is_taken_over_and_answered_with(client):
    response = client.get("/ids", headers={"X-Request-ID": "from-the-shop:1"})
    assert response.json()["correlation_id"] == "from-the-shop:1"
    assert response.headers["X-Request-ID"] == "from-the-shop:1"


@pytest.mark.parametrize("given", [None, "", "x" * 129, "a b", "a\nb"])
def test_without_a_valid_request_id_one_is_made(client, given):
    response = client.get("/ids", headers={} if given is None else {"X-Request-ID": given})
    made = response.headers["X-Request-ID"]
    assert is_correlation_id(made)
    assert made != given
    assert response.json()["correlation_id"] == made


def test_two_requests_never_share_a_made_id(client):
    assert client.get("/ids").headers["X-Request-ID"] != client.get("/ids").headers["X-Request-ID"]


def test_a_valid_traceparent_is_taken_over_and_an_invalid_one_replaced(client):
    assert client.get("/ids", headers={"traceparent": TRACE}).json()["traceparent"] == TRACE
    made = client.get("/ids", headers={"traceparent": "nonsense"}).json()["traceparent"]
    assert is_traceparent(made)


def test_nothing_is_left_bound_after_the_request(client):
    client.get("/ids", headers={"X-Request-ID": "abc"})
    client.get("/fail", headers={"X-Request-ID": "abc"})
    assert current_correlation_id() == ""


def test_a_request_is_one_line_with_what_happened(client, lines):
    client.get("/pids/7?secret=1", headers={"X-Request-ID": "abc"})
    (line,) = lines()
    assert (line.levelno, line.getMessage()) == (logging.INFO, "request")
    assert (line.method, line.path, line.route, line.status) == ("GET", "/pids/7", "/pids/<str:name>", 200)
    assert line.duration_ms >= 0
    assert "secret" not in str(vars(line))


def test_a_request_that_fails_is_recorded_too_and_has_its_id_in_the_answer(client, lines):
    response = client.get("/fail", headers={"X-Request-ID": "abc"})
    (line,) = lines()
    assert (response.status_code, line.status) == (500, 500)
    assert response.headers["X-Request-ID"] == "abc"


@pytest.mark.parametrize("path", ["/health/live", "/metrics", "/static/nothing.css"])
def test_what_machines_ask_every_few_seconds_is_logged_at_debug(client, lines, path):
    client.get(path)
    (line,) = lines()
    assert line.levelno == logging.DEBUG


def test_a_request_counts_once_under_its_route(client):
    labels = {"method": "GET", "route": "/pids/<str:name>", "status": "200"}
    before = requests(**labels)
    client.get("/pids/1")
    client.get("/pids/2")
    assert requests(**labels) == before + 2


def test_a_404_of_a_view_counts_under_its_route(client):
    labels = {"method": "GET", "route": "/missing", "status": "404"}
    before = requests(**labels)
    client.get("/missing")
    assert requests(**labels) == before + 1


def test_what_clients_invent_makes_no_series_of_its_own(client):
    invented = {"method": "OTHER", "route": UNMATCHED, "status": "404"}
    before = requests(**invented)
    client.generic("BREW", "/coffee")
    client.generic("GRIND", "/beans")
    assert requests(**invented) == before + 2
    series = [sample.labels for family in REGISTRY.collect() for sample in family.samples]
    assert not [labels for labels in series if {"BREW", "GRIND", "/coffee", "/beans"} & set(labels.values())]
