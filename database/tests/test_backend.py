"""Whether a standing connection can be used, as Django asks before and after each request."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from django.db import DEFAULT_DB_ALIAS, DatabaseError, InternalError, connection, connections, transaction

from database.backend import base as backend
from database.backend.base import DatabaseWrapper
from database.statements import array, execute_prepared

pytestmark = pytest.mark.django_db(transaction=True)


ODD_DEFAULTS = (
    "-c default_transaction_isolation=serializable -c TimeZone=Asia/Tokyo -c DateStyle=German "
    "-c standard_conforming_strings=off -c array_nulls=off"
)


@pytest.fixture
def database() -> Iterator[DatabaseWrapper]:
    database = DatabaseWrapper(connection.settings_dict, "other")
    database.connect()
    yield database
    database.close()


@pytest.fixture
def silent_server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server
    backend._silent.clear()


def asked(database: DatabaseWrapper, statement: str) -> None:
    with database.cursor() as cursor:
        cursor.execute(statement)


def with_odd_defaults(alias: str) -> DatabaseWrapper:
    settings = connection.settings_dict
    return DatabaseWrapper(settings | {"OPTIONS": settings["OPTIONS"] | {"options": ODD_DEFAULTS}}, alias)


def test_a_new_one_reads_what_is_committed_whatever_the_default_is_and_asks_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database = with_odd_defaults("other")
    with monkeypatch.context() as patched:
        patched.setattr(psycopg.Cursor, "execute", None)  # Django's own statements
        database.connect()
    try:
        with database.cursor() as cursor:
            cursor.execute("SELECT current_setting('transaction_isolation'), current_setting('TimeZone')")
            assert cursor.fetchone() == ("read committed", "UTC")
    finally:
        database.close()


def test_values_arrive_as_they_are_whatever_the_default_is() -> None:
    before, database = connections[DEFAULT_DB_ALIAS], with_odd_defaults(DEFAULT_DB_ALIAS)
    when = datetime(2026, 2, 1, tzinfo=UTC)
    connections[DEFAULT_DB_ALIAS] = database
    try:
        rows = execute_prepared(
            "SELECT %s::bytea, %s::text[], %s::timestamptz", [b'{"a": "\\"}', array("text", ["a", None]), when]
        )
    finally:
        connections[DEFAULT_DB_ALIAS] = before
        database.close()

    assert rows == [(b'{"a": "\\"}', ["a", None], when)]


def test_the_server_lets_go_of_one_whose_host_has_vanished(database: DatabaseWrapper) -> None:
    names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout")
    with database.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(f"current_setting('{name}')" for name in names)}")
        assert cursor.fetchone() == ("10", "5", "2", "20000")


def test_one_that_stands_can_be_used_and_nobody_is_asked(
    database: DatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(database, "SELECT 1")
    monkeypatch.setattr(psycopg.Connection, "wait", None)

    assert database.is_usable()


def test_one_that_the_server_has_ended_cannot(database: DatabaseWrapper) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [database.connection.info.backend_pid])

    assert not database.is_usable()


def test_one_that_broke_in_a_statement_cannot(database: DatabaseWrapper) -> None:
    with pytest.raises(DatabaseError):
        asked(database, "SELECT pg_terminate_backend(pg_backend_pid())")

    assert not database.is_usable()
    database.close_if_unusable_or_obsolete()
    assert database.connection is None


def test_one_that_was_closed_or_never_opened_cannot(database: DatabaseWrapper) -> None:
    database.connection.close()
    assert not database.is_usable()
    assert not DatabaseWrapper(connection.settings_dict, "another").is_usable()


def test_one_in_a_transaction_that_has_failed_cannot(database: DatabaseWrapper) -> None:
    database.set_autocommit(False)
    with pytest.raises(DatabaseError):
        asked(database, "SELECT 1 / 0")

    assert not database.is_usable()
    database.rollback()
    assert database.is_usable()


def test_a_transaction_that_has_failed_cannot_be_committed(database: DatabaseWrapper) -> None:
    database.set_autocommit(False)
    with pytest.raises(DatabaseError):
        asked(database, "SELECT 1 / 0")

    with pytest.raises(InternalError, match="nothing of it is kept"):
        database.commit()
    database.rollback()
    asked(database, "SELECT 1")
    database.commit()


def test_one_that_began_read_only_is_not_kept_once_that_has_cost_a_statement(database: DatabaseWrapper) -> None:
    # As in a session that began while this was the default.
    asked(database, "SET default_transaction_read_only = on")
    with pytest.raises(InternalError, match="read-only"):
        asked(database, "CREATE TABLE things ()")

    database.close_if_unusable_or_obsolete()
    asked(database, "CREATE TEMPORARY TABLE things ()")


def test_one_whose_statement_failed_by_its_data_is_kept(database: DatabaseWrapper) -> None:
    with pytest.raises(DatabaseError):
        asked(database, "SELECT 1 / 0")

    assert database.is_usable()


def test_what_the_server_says_beside_is_no_reason_to_part(database: DatabaseWrapper) -> None:
    asked(database, "LISTEN things")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("NOTIFY things")

    assert database.is_usable()


def test_for_a_server_that_is_silent_only_one_thread_waits_until_it_answers(silent_server: socket.socket) -> None:
    settings = connection.settings_dict
    host, port = silent_server.getsockname()

    def connect(alias: str = "other", *, within: int = 60) -> None:
        away = settings | {"HOST": host, "PORT": port, "OPTIONS": {"connect_timeout": within}}
        DatabaseWrapper(away, alias).connect()

    with ThreadPoolExecutor(2) as threads:
        before = threads.submit(connect)
        first, _ = silent_server.accept()
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            connect(within=2)
        silent_server.accept()

        waits = threads.submit(connect)
        second, _ = silent_server.accept()
        first.close()
        assert isinstance(before.exception(), psycopg.OperationalError)
        with pytest.raises(psycopg.OperationalError, match="was silent"):
            connect()
        connected(settings, "another")
        assert not waits.done()
        second.close()
        assert isinstance(waits.exception(), psycopg.OperationalError)

        connected(settings, "other")
        waits = threads.submit(connect)
        third, _ = silent_server.accept()
        connected(settings, "other")
        assert not waits.done()
        third.close()


def connected(settings: dict[str, Any], alias: str) -> None:
    database = DatabaseWrapper(settings, alias)
    database.connect()
    database.close()
