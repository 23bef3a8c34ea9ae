import psycopg
import pytest
from django.db import InternalError, OperationalError, connection

from database.statements import execute_prepared
from messaging.database import database_is_away
from messaging.errors import ConfigurationError, InvalidMessageError


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
