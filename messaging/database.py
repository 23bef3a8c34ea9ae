"""Telling a database that cannot work at the moment from a message that is bad."""

from datetime import datetime

import psycopg
from django.db import Error, InterfaceError, OperationalError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from psycopg.pq import TransactionStatus

from database.errors import plan_is_outdated, sqlstate
from messaging.errors import ConfigurationError

# A missing table or column, which a migration under way may have yet to bring.
_MISSING = ("42P01", "42703")
_DISK_FULL = "53100"
# SQLSTATE classes: 08 connection, 40 rollback (deadlock, serialization), 53 resources, 57P shutdown, 58 system,
# 25006 read-only, as a standby is, 55P03 lock timeout, 57014 statement timeout, 25P03 and 25P04 timeouts of
# transactions.
_AWAY = ("08", "40", "53", "57014", "57P", "58", "25006", "25P03", "25P04", "55P03", *_MISSING)
# While connecting there is no SQLSTATE, only the server's words, in the language of its `lc_messages`.
_REFUSALS = ("password authentication failed", "no password supplied", "no pg_hba.conf entry", '" does not exist')

# Turns these off, whatever the role or the database has set. `pg_settings` has only those that this PostgreSQL knows.
NEVER_HANG_UP = """
    SELECT set_config(name, '0', false) FROM pg_settings
    WHERE name IN ('idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout')"""


def database_time() -> datetime:
    """Now, by the clock of this service's PostgreSQL."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime
        (now,) = cursor.fetchone()
    return now


def ensure_committable() -> None:
    """To be called at the end of a transaction. Raises RuntimeError when a database error in it was passed over.

    Neither Django nor PostgreSQL would say so: the commit then rolls everything back, as if nothing were wrong.
    """
    failed = connection.connection.info.transaction_status == TransactionStatus.INERROR
    if failed or transaction.get_rollback():
        raise RuntimeError(
            "An error of the database was passed over, so nothing of this would be kept. "
            "Who expects one catches it around a transaction.atomic() of its own."
        )


def database_is_away(error: BaseException) -> bool:
    """Whether to wait and try again, whatever the message: the error is not the message's fault.

    Takes Django's and psycopg's errors. Raises ConfigurationError when the server refuses the user, or has no such
    database: waiting does not mend that.
    """
    if not isinstance(error, Error | psycopg.Error):
        return False
    if code := sqlstate(error):
        return code.startswith(_AWAY) or plan_is_outdated(error)
    if any(refusal in str(error) for refusal in _REFUSALS):
        raise ConfigurationError(f"PostgreSQL refuses DATABASE_URL: {str(error).strip()}") from error
    return isinstance(error, InterfaceError | OperationalError | psycopg.OperationalError | psycopg.InterfaceError)


def database_works(error: BaseException) -> bool:
    """Whether the database works although the error of a handler says that it is away: then the handler may be wrong.

    Asks it over a new connection. A missing table or column counts as away only while a migration is pending; and an
    answer does not mean that the disk is no longer full.
    """
    connection.close()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return not (sqlstate(error) == _DISK_FULL or (sqlstate(error) in _MISSING and _migrations_are_pending()))
    except Error:
        return False


def _migrations_are_pending() -> bool:
    executor = MigrationExecutor(connection)
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))
