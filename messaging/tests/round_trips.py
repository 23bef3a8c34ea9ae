"""Counting what goes to PostgreSQL and back, as libpq saw it. Django's own log has no statement that bypasses it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile

from django.db import connection


@contextmanager
def round_trips() -> Iterator[list[str]]:
    """In the block, collects what each round trip asked for: the first three words of each statement.

    A statement that is prepared already is `run`. The wake-up call for the relay is left out, as a busy process does.
    """
    asked: list[str] = []
    connection.ensure_connection()
    pgconn = connection.connection.pgconn
    with TemporaryFile("r+") as file:
        pgconn.trace(file.fileno())
        try:
            yield asked
        finally:
            pgconn.untrace()
        file.seek(0)
        asked += [what for what in _requests(file.read()) if not what.startswith("NOTIFY")]


def _requests(trace: str) -> Iterator[str]:
    statement = ""
    # A record begins with its time; the statement in it may have many lines.
    for record in re.split(r"^(?=\d{4}-\d\d-\d\d )", trace, flags=re.MULTILINE):
        match record.rstrip("\n").split("\t"):
            case [_, "F", _, "Query", text]:
                yield _first_words(text)
            case [_, "F", _, "Parse", text]:
                statement = _first_words(re.sub(r'^\s*"[^"]*"', "", text))  # it begins with the statement's name
            case [_, "F", _, "Bind", *_]:
                statement = statement or "run"
            case [_, "F", _, "Sync", *_]:
                yield statement
                statement = ""


def _first_words(text: str) -> str:
    return " ".join(re.findall(r"\w+", re.sub(r"EXECUTE prepared_.*", "run", text, flags=re.DOTALL))[:3])
