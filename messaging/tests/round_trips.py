"""Counting what goes to PostgreSQL and back, as libpq saw it. Django's own log has no statement that bypasses it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile

from django.db import connection


@contextmanager
def round_trips() -> Iterator[list[str]]:
    """In the block, collects what each round trip asked for: the first three words of each statement.

    One that is prepared already is `run`. The wake-up call for the relay is left out, as a busy process does.
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
    for line in trace.splitlines():
        # time, F for what is sent, length, kind, and what it holds
        match re.split(r"\t", line, maxsplit=4):
            case [_, "F", _, "Query" | "Parse" as kind, *text]:
                words = re.findall(r"\w+", re.sub(r'^\s*"[^"]*"\s*', "", text[0]) if kind == "Parse" else text[0])
                statement = " ".join(words[:3])
                if kind == "Query":
                    yield statement
            case [_, "F", _, "Bind", *_]:
                statement = statement or "run"
            case [_, "F", _, "Sync", *_]:
                yield statement
                statement = ""
