"""Telling a database that cannot work at the moment from a message that is bad."""

import psycopg
from django.db import Error, InterfaceError, OperationalError

from messaging.errors import ConfigurationError

# SQLSTATE classes: 08 connection, 40 rollback (deadlock, serialization), 53 resources, 57P shutdown, 58 system,
# 25006 read-only, as a standby is, 55P03 lock timeout, 42P01 and 42703 a table or column that the migration under way
# has yet to bring.
_AWAY = ("08", "40", "53", "57P", "58", "25006", "55P03", "42P01", "42703")
# While connecting there is no SQLSTATE, only the server's words.
_REFUSALS = ("password authentication failed", "no password supplied", "no pg_hba.conf entry")


def database_is_away(error: BaseException) -> bool:
    """Whether to wait and try again, whatever the message: nothing is the message's fault.

    Takes Django's and psycopg's errors. Raises ConfigurationError when the database refuses the credentials, which no
    waiting mends.
    """
    if not isinstance(error, Error | psycopg.Error):
        return False
    code: str | None = getattr(error, "sqlstate", None) or getattr(error.__cause__, "sqlstate", None)
    if code is not None:
        return code.startswith(_AWAY)
    if any(refusal in str(error) for refusal in _REFUSALS):
        raise ConfigurationError(f"PostgreSQL refuses the credentials of DATABASE_URL: {str(error).strip()}") from error
    return isinstance(error, InterfaceError | OperationalError | psycopg.OperationalError | psycopg.InterfaceError)
