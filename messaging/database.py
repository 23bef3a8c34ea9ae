"""Telling a database that cannot work at the moment from a message that is bad."""

from collections.abc import Sequence
from typing import Any, LiteralString

import psycopg
from django.db import InterfaceError, OperationalError, connection

from messaging.errors import ConfigurationError

# SQLSTATE classes: 08 connection, 40 rollback (deadlock, serialization), 53 resources, 57P shutdown, 58 system,
# 55P03 lock timeout, 42P01 and 42703 a table or column that the migration under way has yet to bring.
_AWAY = ("08", "40", "53", "57P", "58", "55P03", "42P01", "42703")
# While connecting there is no SQLSTATE, only the server's words.
_REFUSALS = ("password authentication failed", "no password supplied", "no pg_hba.conf entry")


def database_is_away(error: BaseException) -> bool:
    """Whether to wait and try again, whatever the message: nothing is the message's fault.

    Takes Django's and psycopg's errors. Raises ConfigurationError when the database refuses the credentials, which no
    waiting mends.
    """
    if any(refusal in str(error) for refusal in _REFUSALS):
        raise ConfigurationError(f"PostgreSQL refuses the credentials of DATABASE_URL: {str(error).strip()}") from error
    code = getattr(error, "sqlstate", None) or getattr(error.__cause__, "sqlstate", None)
    if code is None:
        return isinstance(error, InterfaceError | OperationalError | psycopg.OperationalError | psycopg.InterfaceError)
    return isinstance(code, str) and code.startswith(_AWAY)


def execute_prepared(statement: LiteralString, parameters: Sequence[Any]) -> int:
    """Runs a statement that the server plans once for each connection, and says how many rows it wrote.

    Outside a transaction it is one of its own. Raises Django's errors.
    """
    connection.ensure_connection()
    with connection.wrap_database_errors:
        # Not Django's cursor: it writes the parameters into the text, so that no statement is like another.
        with psycopg.Cursor(connection.connection) as cursor:
            cursor.execute(statement, parameters, prepare=True)
            return cursor.rowcount
