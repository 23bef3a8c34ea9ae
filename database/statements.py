"""Statements run by libpq itself, for the hot paths; everything else asks the ORM."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, LiteralString

import orjson
import psycopg
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.abc import Buffer
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.pq import DiagnosticField, Escaping, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

_PLAN_OUTDATED = b"0A000"  # "cached plan must not change result type"


def ensure_durable() -> None:
    """Raises RuntimeError inside a transaction. For callers who may return only what is committed.

    The same as `transaction.atomic(durable=True)`, also in that it overlooks the transaction that a test runs in.
    """
    if connection.atomic_blocks and not connection.atomic_blocks[-1]._from_testcase:  # type: ignore[attr-defined]
        raise RuntimeError("What is to be durable cannot be nested within another transaction.")


def execute_prepared(statement: LiteralString, parameters: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Runs a statement that the server plans once for each connection, and returns its rows.

    Outside a transaction it is one of its own. Each parameter needs a cast, from which the server knows its type.
    Raises Django's errors. Mind that a plan made while the server believed a table to be empty reads all of it, however
    full, until the server counts again. That is harmless for an insert and for one row now and then; relay and consume,
    which read in bulk, never plan anything but an index (`messaging.process`).

    This is libpq as psycopg offers it, in one call that blocks. A cursor waits in Python, whose code has left the CPU's
    caches when the answer is there.
    """
    django = connections[DEFAULT_DB_ALIAS]
    django.validate_no_broken_transaction()
    database = _connected(django)
    with django.wrap_database_errors:
        transformer = Transformer.from_context(database)
        numbered, names = _numbered(statement)
        if isinstance(parameters, Mapping):
            parameters = [parameters[name] for name in names]
        texts = transformer.dump_sequence(parameters, [PyFormat.TEXT] * len(parameters))
        link = database.pgconn
        # psycopg begins a transaction with the first statement, and so does this.
        begins = not database.autocommit and link.transaction_status == TransactionStatus.IDLE
        if database.prepare_threshold is None:  # DATABASE_PREPARED_STATEMENTS=false
            if begins:
                checked(database, link.exec_(b"BEGIN"))
            result = link.exec_params(numbered, texts)
        else:
            name = _prepare(database, numbered)
            run = _begin_with if begins else _run
            result = run(link, name, texts)
            if result.error_field(DiagnosticField.SQLSTATE) == _PLAN_OUTDATED and database.autocommit:
                # A migration has altered the type of a column. (In a transaction nothing more could be asked.)
                checked(database, link.exec_(b"DEALLOCATE " + name))
                checked(database, link.prepare(name, numbered))
                result = _run(link, name, texts)
        checked(database, result)
        transformer.set_pgresult(result)
        return transformer.load_rows(0, result.ntuples, tuple)


def _run(link: PGconn, name: bytes, texts: Sequence[Buffer | None]) -> PGresult:
    return link.exec_prepared(name, texts)  # type: ignore[arg-type]  # a text may be None


def _begin_with(link: PGconn, name: bytes, texts: Sequence[Buffer | None]) -> PGresult:
    """Begins a transaction with a prepared statement in one round trip: 5 % of what a relay's batch of one costs."""
    escaping = Escaping(link)
    literals = [b"NULL" if text is None else bytes(escaping.escape_literal(text)) for text in texts]
    call = b"EXECUTE %s(%s)" % (name, b",".join(literals)) if literals else b"EXECUTE " + name
    return link.exec_(b"BEGIN;" + call)


def _connected(django: BaseDatabaseWrapper) -> psycopg.Connection:
    """Django's connection, as its own cursors get it: a standing one is checked first (CONN_HEALTH_CHECKS)."""
    django.close_if_health_check_failed()
    django.ensure_connection()
    database: psycopg.Connection = django.connection
    return database


def _prepare(database: psycopg.Connection, statement: bytes) -> bytes:
    """The name of this statement on the connection, which prepares it when it is first used."""
    names: dict[bytes, bytes] = database.__dict__.setdefault("prepared_by_us", {})
    if (name := names.get(statement)) is None:
        name = b"prepared_%d" % len(names)
        checked(database, database.pgconn.prepare(name, statement))
        names[statement] = name
    return name


def execute_alone(statement: LiteralString) -> None:
    """Runs a statement without parameters and rows, outside of any transaction. Raises Django's errors."""
    django = connections[DEFAULT_DB_ALIAS]
    database = _connected(django)
    with django.wrap_database_errors:
        checked(database, database.pgconn.exec_(statement.encode()))


_PLACEHOLDER = re.compile(r"%(?:\((\w+)\))?s|%%")


@cache
def _numbered(statement: LiteralString) -> tuple[bytes, list[str]]:
    """The statement with $1, $2 … for its placeholders, and their names, if they have any."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        if found[1] is None or found[1] not in names:
            names.append(found[1] or "")
        return f"${names.index(found[1]) + 1 if found[1] else len(names)}"

    return _PLACEHOLDER.sub(number, statement).encode(), names


def checked(database: psycopg.Connection, result: PGresult) -> None:
    """Raises psycopg's error for a result that is one."""
    if result.status in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
        return
    if database.closed:
        raise psycopg.OperationalError(result.get_error_message())
    raise error_from_result(result)


def array(kind: str, values: Sequence[Any]) -> str:
    """The values as one parameter that PostgreSQL reads as an array of this kind: for `%s::uuid[]` and the like.

    psycopg dumps a list one element at a time and asks a regular expression about each: a quarter of what a message
    costs a consumer. `kind` is `text`, `jsonb` (the elements are its text), `bytea`, or one that needs no escaping: a
    number, a uuid, a time. An element may be None.
    """
    match kind:
        case "text" | "jsonb" if None not in values and (text := _all_quoted(values)):
            elements = text
        case "text" | "jsonb":
            elements = ",".join("null" if value is None else _quoted(value) for value in values)
        case "bytea":
            elements = ",".join("null" if value is None else f'"\\\\x{value.hex()}"' for value in values)
        case _:
            elements = orjson.dumps(values, default=str)[1:-1].decode()
    return f"{{{elements}}}"


def _all_quoted(texts: Sequence[str]) -> str:
    """All quoted in one go, which takes a third of the time; empty when one holds the character put between them."""
    joined = "\0".join(texts)
    if joined.count("\0") != len(texts) - 1:
        return ""
    return _quoted(joined).replace("\0", '","')


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
