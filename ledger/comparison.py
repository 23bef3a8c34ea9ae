"""Compares the two books. PostgreSQL does the work, in temporary tables of the connection; Python only counts."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from ledger.book import Book, Entry, Wrong, entries_sql

STUCK = ("outbox", "broker", "dead_letter", "result_outbox", "result_broker", "result_dead_letter")
DISCARDED = ("discarded", "result_discarded")
PLACES = (*STUCK, *DISCARDED, "final")
"""Where an order can be: on its way, from first to last, or at one of its ends. `result_…` is where the result of a
decided order is."""

_THEIRS = "order_id uuid, place text, state text, since timestamptz, lines integer"


@dataclass(frozen=True, slots=True)
class Finding:
    """An order to look at, and why."""

    order_id: UUID
    what: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Count:
    """How many orders are in one place, all with the same thing wrong, or with nothing wrong."""

    place: str
    wrong: Wrong | None
    due: bool
    orders: int


def load(pages: Iterable[Sequence[Entry]], on_page: Callable[[int], object]) -> None:
    """Copies the other book into a temporary table, one transaction a page: no transaction waits for the network."""
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMPORARY TABLE IF NOT EXISTS ledger_theirs ({_THEIRS})")
        cursor.execute("TRUNCATE ledger_theirs")
        for page in pages:
            with cursor.copy("COPY ledger_theirs FROM STDIN") as copy:
                for entry in page:
                    copy.write_row(entry)
            on_page(len(page))
        cursor.execute("ANALYZE ledger_theirs")


# Gathers what is known of each order in one row, then judges it. Final orders with nothing wrong are only counted: they
# get no order_id, so that a million of them leave one row.
_JUDGE = """
    CREATE TEMPORARY TABLE ledger_verdict AS
    WITH known AS (
        SELECT
            order_id,
            max(since) AS since,
            max(state) FILTER (WHERE place = 'order') AS ordered,
            max(state) FILTER (WHERE place = 'record') AS recorded,
            max(lines) FILTER (WHERE place = 'order') AS order_lines,
            max(lines) FILTER (WHERE place = 'record') AS record_lines,
            bool_or(place = 'outbox' AND state = 'created') AS outbox,
            bool_or(place = 'dead_letter' AND state = 'created') AS dead_letter,
            bool_or(place = 'discarded' AND state = 'created') AS discarded,
            bool_or(place = 'outbox' AND state = 'processed') AS result_outbox,
            bool_or(place = 'dead_letter' AND state = 'processed') AS result_dead_letter,
            bool_or(place = 'discarded' AND state = 'processed') AS result_discarded
        FROM ({ours} UNION ALL SELECT order_id, place, state, since, lines FROM ledger_theirs) AS entry
        GROUP BY order_id
    ), judged AS (
        SELECT
            order_id,
            since,
            since <= %(due_before)s AS due,
            CASE
                WHEN ordered IN ('completed', 'failed') THEN 'final'
                WHEN result_outbox THEN 'result_outbox'
                WHEN result_dead_letter THEN 'result_dead_letter'
                WHEN recorded IS NOT NULL AND result_discarded THEN 'result_discarded'
                WHEN recorded IS NOT NULL THEN 'result_broker'
                WHEN dead_letter THEN 'dead_letter'
                WHEN outbox THEN 'outbox'
                WHEN discarded THEN 'discarded'
                WHEN result_discarded THEN 'result_discarded'
                ELSE 'broker'
            END AS place,
            CASE
                WHEN since > %(due_before)s THEN NULL
                WHEN ordered IS NULL AND recorded IS NOT NULL THEN 'order missing'
                WHEN ordered IN ('completed', 'failed') AND recorded IS NULL THEN 'record missing'
                WHEN order_lines <> record_lines THEN 'items missing'
                WHEN ordered IN ('completed', 'failed') AND ordered <> recorded THEN 'contradiction'
            END AS wrong
        FROM known
    )
    SELECT
        CASE WHEN place = 'final' AND wrong IS NULL THEN NULL ELSE order_id END AS order_id,
        place, wrong, due, min(since) AS since, count(*) AS orders
    FROM judged
    GROUP BY 1, 2, 3, 4"""

# Orders that no book explains must be on the broker. If its queues hold fewer messages than that, some are nowhere.
_LOST = """
    UPDATE ledger_verdict SET wrong = %(wrong)s
    WHERE place = %(place)s AND due AND wrong IS NULL
      AND (SELECT count(*) FROM ledger_verdict WHERE place = %(place)s AND due AND wrong IS NULL) > %(queued)s"""


def judge(book: Book, *, due_before: datetime, created_queued: int | None, processed_queued: int | None) -> None:
    """Fills ledger_verdict. What has moved after `due_before` is on its way and never wrong.

    `created_queued` and `processed_queued` count the messages in the queues of the processor and of the order service.
    Where one is None, nothing is called lost on that way.
    """
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS ledger_verdict")
        cursor.execute(_JUDGE.format(ours=entries_sql(book)), {"due_before": due_before})
        cursor.execute("CREATE INDEX ON ledger_verdict (wrong, order_id)")
        for place, wrong, queued in (
            ("broker", Wrong.CREATED, created_queued),
            ("result_broker", Wrong.PROCESSED, processed_queued),
        ):
            if queued is not None:
                cursor.execute(_LOST, {"place": place, "wrong": wrong, "queued": queued})


def suspect() -> None:
    """Remembers what is wrong now, for `confirm`."""
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS ledger_suspect")
        cursor.execute(
            "CREATE TEMPORARY TABLE ledger_suspect AS"
            " SELECT order_id, wrong FROM ledger_verdict WHERE wrong IS NOT NULL"
        )


def confirm() -> None:
    """Clears what was not already wrong in the same way at the first look: orders move during a look."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE ledger_verdict AS v SET wrong = NULL WHERE wrong IS NOT NULL AND NOT EXISTS ("
            " SELECT FROM ledger_suspect AS s WHERE s.order_id = v.order_id AND s.wrong = v.wrong)"
        )


def counts() -> list[Count]:
    """All orders of both books, each counted once."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT place, wrong, due, sum(orders)::bigint FROM ledger_verdict GROUP BY 1, 2, 3")
        return [Count(place, wrong and Wrong(wrong), due, orders) for place, wrong, due, orders in cursor]


def wrong(kinds: Sequence[Wrong], *, limit: int) -> Iterator[Finding]:
    """The orders with one of these things wrong, kind by kind, oldest first; all of them with a limit of 0."""
    return _findings("SELECT order_id, wrong, since FROM ledger_verdict WHERE wrong = ANY (%s)", [list(kinds)], limit)


def staying(places: Sequence[str], *, limit: int) -> Iterator[Finding]:
    """The orders that have been in one of these places for too long, in the same way."""
    where = "place = ANY (%s) AND due AND wrong IS NULL"
    return _findings(f"SELECT order_id, place, since FROM ledger_verdict WHERE {where}", [list(places)], limit)


def chunks(kind: Wrong, *, size: int = 100) -> Iterator[list[UUID]]:
    """The ids of all orders that have this wrong, `size` at a time."""
    with _streaming("SELECT order_id FROM ledger_verdict WHERE wrong = %s ORDER BY order_id", [kind]) as cursor:
        while rows := cursor.fetchmany(size):
            yield [order_id for (order_id,) in rows]


def _findings(query: str, parameters: list[Any], limit: int) -> Iterator[Finding]:
    with _streaming(f"{query} ORDER BY 2, since, order_id LIMIT %s", [*parameters, limit or None]) as cursor:
        while rows := cursor.fetchmany(1000):
            yield from (Finding(order_id, what, since) for order_id, what, since in rows)


@contextmanager
def _streaming(query: str, parameters: list[Any]) -> Iterator[Any]:
    """A cursor whose rows stay in PostgreSQL until they are fetched, even across transactions."""
    with connection.chunked_cursor() as cursor:
        cursor.execute(query, parameters)
        yield cursor
