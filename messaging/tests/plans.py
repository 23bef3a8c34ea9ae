"""What PostgreSQL makes of a prepared statement."""

from django.db import connection

from database.statements import _numbered


def generic_plan(statement: str, *parameters: str) -> str:
    """The plan for any parameters, made now, as a process that prepares the statement now may keep it for ever."""
    numbered, _ = _numbered(statement)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        cursor.execute(f"PREPARE planned AS {numbered.decode()}")
        cursor.execute(f"EXPLAIN EXECUTE planned({', '.join(parameters)})")
        plan = "\n".join(line for (line,) in cursor.fetchall())
        cursor.execute("DEALLOCATE planned")
    return plan
