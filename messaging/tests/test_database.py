import psycopg
import pytest
from django.db import InterfaceError, InternalError, NotSupportedError, OperationalError, connection, transaction
from django.db.migrations.recorder import MigrationRecorder

from database.statements import execute_prepared
from messaging.database import database_is_away, database_works
from messaging.errors import ConfigurationError, InvalidMessageError
from messaging.process import set_up_connection
from messaging.relay import Alarm


@pytest.mark.django_db(transaction=True)
def test_a_lost_connection_is_a_database_that_is_away() -> None:
    [(pid,)] = execute_prepared("SELECT pg_backend_pid()", [])
    parameters = connection.get_connection_params()
    for django_only in ("cursor_factory", "context"):
        parameters.pop(django_only, None)
    with psycopg.connect(**parameters, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [pid])
    with pytest.raises(OperationalError) as caught:
        execute_prepared("SELECT 1", [])
    assert database_is_away(caught.value)
    connection.close()


@pytest.mark.parametrize("state", ["57014", "25P03", "25P04"])
def test_a_time_limit_of_the_database_is_nobodys_fault(state: str) -> None:
    error = psycopg.OperationalError("canceling")
    error.sqlstate = state
    assert database_is_away(error)


@pytest.mark.django_db(transaction=True)
def test_a_statement_that_a_migration_has_outdated_is_nobodys_fault_but_what_is_not_supported_is() -> None:
    execute_prepared("CREATE TABLE scratch AS SELECT 1 AS number", [])
    try:
        execute_prepared("SELECT * FROM scratch", [])
        execute_prepared("ALTER TABLE scratch ALTER number TYPE text", [])
        with pytest.raises(NotSupportedError) as outdated, transaction.atomic():
            execute_prepared("SELECT * FROM scratch", [])
    finally:
        execute_prepared("DROP TABLE scratch", [])
    assert database_is_away(outdated.value)
    assert outdated.value.__cause__ is not None
    assert database_is_away(outdated.value.__cause__)
    # Not by its words, which the server says in its own language.
    assert not database_is_away(psycopg.errors.FeatureNotSupported("cached plan must not change result type"))


@pytest.mark.django_db(transaction=True)
def test_a_database_that_answers_works_unless_it_waits_for_a_migration_or_for_room() -> None:
    assert database_works(InterfaceError("the cursor is closed"))
    assert not database_works(psycopg.errors.DiskFull("could not extend file"))
    assert database_works(psycopg.errors.UndefinedColumn("column does not exist"))
    recorder = MigrationRecorder(connection)
    recorder.record_unapplied("messaging", "0004_replayed_message_group")
    try:
        assert not database_works(psycopg.errors.UndefinedColumn("column does not exist"))
        assert not database_works(psycopg.errors.UndefinedTable("relation does not exist"))
        assert database_works(psycopg.errors.LockNotAvailable("could not obtain lock"))
    finally:
        recorder.record_applied("messaging", "0004_replayed_message_group")


@pytest.mark.django_db(transaction=True)
def test_a_database_that_cannot_be_reached_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setitem(connection.settings_dict, "PORT", 1)
        assert not database_works(InterfaceError("the connection is closed"))
    assert database_works(InterfaceError("the connection is closed"))


@pytest.mark.django_db(transaction=True)
def test_the_server_lets_go_of_a_process_whose_host_has_vanished_and_reads_by_index() -> None:
    set_up_connection(connection=connection)
    alarm = Alarm()
    try:
        alarm.wait(0)
        assert alarm._connection is not None
        names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout")
        found = [execute_prepared(f"SELECT current_setting('{name}')", []) for name in (*names, "enable_seqscan")]
        assert found == [[("10",)], [("5",)], [("2",)], [("20000",)], [("off",)]]
        listening = [alarm._connection.execute(f"SHOW {name}").fetchone() for name in names]
        assert listening == [("10",), ("5",), ("2",), ("20000",)]
    finally:
        alarm.close()
        connection.close()


@pytest.mark.django_db(transaction=True)
def test_the_server_never_hangs_up_on_a_process_that_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = ["idle_in_transaction_session_timeout", "idle_session_timeout"]
    given = " ".join(f"-c {name}=1h" for name in limits)
    connection.close()
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "options", given)
    alarm = Alarm()
    try:
        alarm.wait(0)
        set_up_connection(connection=connection)
        assert alarm._connection is not None
        for name in limits:
            assert execute_prepared(f"SELECT current_setting('{name}')", []) == [("0",)]
            assert alarm._connection.execute(f"SHOW {name}").fetchone() == ("0",)
    finally:
        alarm.close()
        connection.close()


def test_a_database_that_does_not_exist_is_not_waited_for() -> None:
    given = connection.get_connection_params()
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(**{name: given[name] for name in ("host", "port", "user", "password")}, dbname="nowhere")
    with pytest.raises(ConfigurationError, match=r'refuses DATABASE_URL: .*"nowhere" does not exist'):
        database_is_away(caught.value)


@pytest.mark.parametrize("words", ["password authentication failed", "no password supplied", "no pg_hba.conf entry"])
def test_only_a_database_refuses_credentials(words: str) -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        database_is_away(OperationalError(f"connection failed: {words}"))
    for error in (
        ValueError(words),
        InvalidMessageError(words),
        psycopg.errors.CheckViolation(words),
    ):
        assert not database_is_away(error)


@pytest.mark.django_db(transaction=True)
def test_a_standby_is_a_database_that_is_away() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
        with pytest.raises(InternalError) as caught:
            cursor.execute("CREATE TABLE nothing ()")
    connection.close()
    assert database_is_away(caught.value)
