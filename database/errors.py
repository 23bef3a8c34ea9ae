"""What PostgreSQL's errors mean, by their SQLSTATE."""


def sqlstate(error: BaseException) -> str:
    """The SQLSTATE of psycopg's error or of the one behind Django's; empty where there is none, as while connecting."""
    return getattr(error, "sqlstate", None) or getattr(error.__cause__, "sqlstate", None) or ""


def statement_took_too_long(error: BaseException) -> bool:
    """Whether the database has ended a statement at its time limit, which may be the fault of what it was to do."""
    return sqlstate(error) == "57014"


def plan_is_outdated(error: BaseException) -> bool:
    """Whether a migration has altered what a prepared statement gives; another connection prepares it anew.

    Goes by the server's function that says so: the SQLSTATE stands for all that is not supported, and the words may be
    German.
    """
    diagnostic = getattr(error, "diag", None) or getattr(error.__cause__, "diag", None)
    return sqlstate(error) == "0A000" and getattr(diagnostic, "source_function", None) == "RevalidateCachedQuery"
