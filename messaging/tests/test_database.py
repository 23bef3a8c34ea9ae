import psycopg
import pytest
from django.db import OperationalError, connection

from database.statements import execute_prepared
from messaging.database import database_is_away


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
