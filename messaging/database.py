"""Telling a database that cannot work at the moment from a message that is bad."""

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

import orjson
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


def refuse_to_nest() -> None:
    """Raises RuntimeError inside a transaction, for who must have a commit behind it when it returns.

    As `transaction.atomic(durable=True)` does, and like it not for the transaction that a test runs in.
    """
    if connection.atomic_blocks and not connection.atomic_blocks[-1]._from_testcase:  # type: ignore[attr-defined]
        raise RuntimeError("What is to be durable cannot be nested within another transaction.")


def execute_prepared(statement: LiteralString, parameters: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Runs a statement that the server plans once for each connection, and returns its rows.

    Outside a transaction it is one of its own. Raises Django's errors. Mind that a plan made for an empty table may
    read all of a full one: only inserts are safe everywhere, and reads by an index in relay and consume, which never
    plan anything else (`messaging.process`).
    """
    connection.ensure_connection()
    # Not Django's cursor: it writes the parameters into the text, so that no statement is like another.
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        cursor.execute(statement, parameters, prepare=True)
        return cursor.fetchall()


def array(kind: str, values: Sequence[Any]) -> str:
    """The values as one parameter that PostgreSQL reads as an array of this kind: for `%s::uuid[]` and the like.

    psycopg dumps a list one element at a time and asks a regular expression about each: a quarter of what a message
    costs a consumer. `kind` is `text`, `jsonb` (the elements are its text), `bytea`, or one that needs no escaping: a
    number, a uuid, a time. An element may be None.
    """
    match kind:
        case "text" | "jsonb":
            elements = ",".join("null" if value is None else _quoted(value) for value in values)
        case "bytea":
            elements = ",".join("null" if value is None else f'"\\\\x{value.hex()}"' for value in values)
        case _:
            elements = orjson.dumps(values, default=str)[1:-1].decode()
    return f"{{{elements}}}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
