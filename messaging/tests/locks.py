"""Who waits for whom in the database."""

from django.db import connection

from messaging.tests.conftest import eventually


def wait_until_somebody_waits_for_us() -> None:
    """Returns once another connection waits for a lock that this thread's connection holds."""
    eventually(_somebody_waits_for_us)


def _somebody_waits_for_us() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("""
            SELECT EXISTS (SELECT FROM pg_locks
                           WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid)))""")
        return bool(cursor.fetchone()[0])
