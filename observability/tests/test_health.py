import socket
import time

import pytest
from django.db import connections

from observability import health
from observability.tests.checks import Database, hanging

CHECKS = "observability.tests.checks."


@pytest.fixture
def checks(settings):
    def configure(**paths):
        settings.HEALTH_CHECKS = paths
        settings.READINESS_CHECKS = ["database"]

    return configure


@pytest.fixture
def database_at(monkeypatch):
    """Moves the database to another port, for connections that are made from now on."""
    return lambda port: monkeypatch.setitem(connections.settings["default"], "PORT", port)


@pytest.fixture
def unused_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]  # bound but not listening: connections are refused


def test_it_is_healthy_when_every_check_passes_and_shows_their_details(client, checks):
    checks(one=CHECKS + "fine", two=CHECKS + "fine")
    response = client.get("/health")
    assert response.status_code == 200
    assert response.json() == {
        "status": "healthy",
        "checks": {"one": {"status": "ok", "version": "7"}, "two": {"status": "ok", "version": "7"}},
    }
    assert "no-store" in response.headers["Cache-Control"]


def test_one_failed_check_makes_it_unhealthy_and_the_others_still_tell(client, checks):
    checks(one=CHECKS + "fine", two=CHECKS + "broken")
    response = client.get("/health")
    assert response.status_code == 503
    body = response.json()
    assert body["status"] == "unhealthy"
    assert body["checks"]["one"]["status"] == "ok"
    assert body["checks"]["two"]["status"] == "failed"


def test_a_report_that_fails_is_a_warning_and_makes_nothing_unhealthy(client, checks, settings):
    checks(database=CHECKS + "fine")
    settings.HEALTH_REPORTS = {"outbox": CHECKS + "broken", "relay": CHECKS + "fine"}
    response = client.get("/health")
    assert response.status_code == 200
    body = response.json()
    assert body["status"] == "healthy"
    assert body["checks"]["outbox"]["status"] == "warning"
    assert "refused" in body["checks"]["outbox"]["detail"]
    assert body["checks"]["relay"]["status"] == "ok"
    assert set(client.get("/health/ready").json()["checks"]) == {"database"}


def test_the_detail_of_a_failure_is_one_sentence_without_credentials(client, checks, caplog):
    checks(broker=CHECKS + "broken")
    response = client.get("/health")
    detail = response.json()["checks"]["broker"]["detail"]
    assert detail.startswith("amqp://***@broker:5672/ refused")
    assert "second line" not in detail
    assert "secret" not in response.text
    assert "secret" not in caplog.text


def test_a_failure_without_words_is_named_by_its_type(client, checks):
    checks(broker=CHECKS + "silent")
    assert client.get("/health").json()["checks"]["broker"]["detail"] == "ConnectionError"


def test_a_check_that_cannot_be_found_is_a_failed_check_and_no_error(client, checks):
    checks(broker="no.such.module.check")
    response = client.get("/health")
    assert response.status_code == 503
    assert "no" in response.json()["checks"]["broker"]["detail"]


@pytest.mark.django_db
def test_the_database_check_passes_with_a_database(client, checks):
    checks(database="observability.health.database")
    assert client.get("/health").json()["checks"] == {"database": {"status": "ok"}}
    assert client.get("/health/ready").status_code == 200


@pytest.mark.django_db
def test_it_is_neither_healthy_nor_ready_without_its_database_but_lives(client, checks, database_at, unused_port):
    checks(database="observability.health.database")
    database_at(unused_port)
    response = client.get("/health")
    assert response.status_code == 503
    assert "refused" in response.json()["checks"]["database"]["detail"]
    assert connections.settings["default"]["PASSWORD"] not in response.json()["checks"]["database"]["detail"]
    assert client.get("/health/ready").status_code == 503
    assert client.get("/health/live").status_code == 200


@pytest.mark.django_db
def test_a_database_that_takes_the_connection_and_says_nothing_counts_as_away(client, checks, database_at, monkeypatch):
    monkeypatch.setattr(health, "DATABASE_TIMEOUT", 1)
    checks(database="observability.health.database")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        database_at(mute.getsockname()[1])
        response = client.get("/health")
    assert response.status_code == 503
    assert "timeout" in response.json()["checks"]["database"]["detail"]


def test_it_is_ready_without_what_readiness_does_not_ask_for(client, checks):
    checks(database=CHECKS + "fine", rabbitmq=CHECKS + "broken")
    assert client.get("/health").status_code == 503
    response = client.get("/health/ready")
    assert response.status_code == 200
    assert response.json()["checks"].keys() == {"database"}


@pytest.mark.django_db
def test_a_check_leaves_no_database_connection_behind(client, checks):
    checks(database=CHECKS + "database")
    Database.used.clear()
    for _ in range(2):
        assert client.get("/health").status_code == 200
    assert [used.closed for used in Database.used] == [True, True]


def test_a_check_leaves_nothing_set_on_a_connection_that_a_pooler_keeps(db, monkeypatch):
    pooled = connections["default"].copy()
    monkeypatch.setattr(type(pooled), "copy", lambda *_: pooled)
    with monkeypatch.context() as pooler:
        pooler.setattr(pooled, "close", pooled.rollback)
        health.database()
        with pooled.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone() == ("0",)
    pooled.close()


def test_being_alive_asks_nobody(client, checks):
    checks(database=CHECKS + "broken")
    response = client.get("/health/live")
    assert response.status_code == 200
    assert response.json() == {"status": "healthy", "checks": {}}


def test_a_check_that_hangs_is_given_up_and_not_started_again_until_it_is_over(client, checks, monkeypatch):
    checks(broker=CHECKS + "hanging")
    monkeypatch.setattr(health, "DEADLINE", 0.05)
    for _ in range(2):
        assert client.get("/health").json()["checks"]["broker"]["detail"] == "No answer within 0.05 seconds."
    assert hanging.calls == 1

    hanging.released.set()
    health._runs[CHECKS + "hanging"]._done.wait(30)
    monkeypatch.setattr(health, "DEADLINE", 30)
    assert client.get("/health").status_code == 200


def test_checks_that_hang_side_by_side_are_given_up_together(monkeypatch):
    monkeypatch.setattr(health, "DEADLINE", 60)
    hanging.released.clear()
    runs = [health._Run(CHECKS + "hanging") for _ in range(2)]
    in_a_minute = time.monotonic() + 60
    monkeypatch.setattr(time, "monotonic", lambda: in_a_minute)
    assert [run.result()["detail"] for run in runs] == ["No answer within 60 seconds."] * 2
    hanging.released.set()


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
def test_it_is_asked_by_get_and_head_and_nothing_else(client, checks, path):
    checks(database=CHECKS + "fine")
    assert client.head(path).status_code == 200
    response = client.post(path)
    assert response.status_code == 405
    assert response.headers["Allow"] == "GET, HEAD"


def test_it_needs_no_session_and_sets_no_cookie(client, checks):
    checks(database=CHECKS + "fine")
    assert not client.get("/health").cookies
