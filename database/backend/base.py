"""Django's PostgreSQL backend, with a check of standing connections that costs no round trip, and a quicker commit.

All its connections read only what is committed, and write values in one way, both as PostgreSQL does by default.

`ENGINE = "database.backend"`, with CONN_HEALTH_CHECKS.
"""

import select
import time
from threading import Lock
from typing import Any

import psycopg
from django.db.backends.postgresql import base
from psycopg.errors import InFailedSqlTransaction
from psycopg.pq import TransactionStatus

from database.statements import checked

GIVE_UP_ON_A_SILENT_CLIENT = """
    SET tcp_user_timeout = 20000; SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5;
    SET tcp_keepalives_count = 2"""
"""Makes the server let go, within 20 s too, of a client whose host has vanished.

Left to the operating system, it keeps the session for two hours: its transaction with all locks, so that whoever gets
the same messages would wait as long, and its place among `max_connections`, which would run out when the network fails
a few times.
"""
_SET_UP = f"""
    SET default_transaction_isolation = 'read committed'; SET DateStyle = 'ISO';
    SET standard_conforming_strings = on; SET array_nulls = on; SET TimeZone = '%s';
    {GIVE_UP_ON_A_SILENT_CLIENT}"""
_SILENT_FOR = 1.0
"""An attempt to connect that fails after more seconds than this has met a silent server, not one that refuses."""
_SOUND = {TransactionStatus.IDLE, TransactionStatus.INTRANS}


class _Silence:
    """What is known of a server whose last answer never came."""

    def __init__(self) -> None:
        self.lock = Lock()
        """Whoever holds it tries again."""
        self.reason = ""


_silent: dict[str, _Silence] = {}
"""By alias."""


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> psycopg.Connection:
        """Connects. While a server is silent, only one thread at a time waits for its answer.

        For the others it is away, at once. If they waited as well, five seconds each, all threads of a web server
        would soon do nothing else, and no request would be answered while the silence lasts, not even `/health/live`.
        """
        silence = _silent.get(self.alias)
        if silence is not None and not silence.lock.acquire(blocking=False):
            raise psycopg.OperationalError(f"the server was silent, and is being asked again: {silence.reason}")
        began = time.monotonic()
        try:
            connection: psycopg.Connection = super().get_new_connection(conn_params)
        except psycopg.Error as error:
            if time.monotonic() - began > _SILENT_FOR:
                _silent.setdefault(self.alias, _Silence()).reason = str(error)
            raise
        finally:
            if silence is not None:
                silence.lock.release()
        _silent.pop(self.alias, None)
        return connection

    def init_connection_state(self) -> None:
        """Pins the isolation that every statement here is written for, whatever the role or the database has set.

        Also pins how values are written, on which psycopg and `database.statements` rely: without it no time can be
        read, and a body of bytes or an array's NULL arrives as something else. The time zone is set along with it:
        Django finds it set, and sends no statement of its own.
        """
        with self.wrap_database_errors:
            checked(self.connection, self.connection.pgconn.exec_((_SET_UP % self.timezone_name).encode()))
        super().init_connection_state()

    def is_usable(self) -> bool:
        """Whether the server has said nothing since the last answer: what it says unasked is that it hangs up.

        Django would ask it `SELECT 1`, once a request: a tenth of the time of an accepted order. Never raises.

        A connection on which a statement has failed, by more than its data, is not usable: a session keeps the defaults
        that it began with, and if these are why (read-only, a time limit) it would fail for ever, whatever they are by
        now.
        """
        if self.connection is None or self.errors_occurred:
            return False
        if self.connection.pgconn.transaction_status not in _SOUND:
            return False
        poll = select.poll()
        poll.register(self.connection.pgconn.socket, select.POLLIN)
        return super().is_usable() if poll.poll(0) else True

    def _commit(self) -> None:
        """Commits as psycopg does, but in one call of libpq that blocks (see `database.statements`)."""
        link = None if self.connection is None else self.connection.pgconn
        if link is not None and link.transaction_status == TransactionStatus.INERROR:
            # PostgreSQL would roll back, and psycopg would not say so: whoever asked for a commit would believe in it.
            with self.wrap_database_errors:
                raise InFailedSqlTransaction("a statement of this transaction has failed, so nothing of it is kept")
        if link is None or link.transaction_status != TransactionStatus.INTRANS:
            super()._commit()  # type: ignore[misc]
            return
        with self.wrap_database_errors:
            checked(self.connection, link.exec_(b"COMMIT"))
