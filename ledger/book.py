"""The book of a service: all that it knows of each order, as entries that the other service can compare with its own.

An entry says in which place a service has an order: `order` or `record` (what it keeps of the order), `outbox` or
`dead_letter` (a message about it that waits), `discarded` (a dead letter about it that somebody has discarded). Each
entry has one place; an order may have several entries.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.utils.module_loading import import_string

from contracts.events import OrderCreated, OrderProcessed

MAX_PAGE = 5000

DEAD_LETTER, DISCARDED = "dead_letter", "discarded"

CREATED, PROCESSED = "created", "processed"
"""The two ways that messages go: from the order service to the processor, and back."""


class Wrong(StrEnum):
    """What can be wrong with an order. The report names the order with one of these."""

    CREATED = "order.created lost"
    PROCESSED = "order.processed lost"
    ORDER = "order missing"
    ITEMS = "items missing"
    RECORD = "record missing"
    CONTRADICTION = "contradiction"


class Entry(NamedTuple):
    """Says that this order is, or a message about it waits, in this place."""

    order_id: UUID
    place: str
    state: str
    """The status of an order or record; `created` or `processed` for a message."""
    since: datetime
    lines: int | None
    """How many items the order or record has; None for a message."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the book."""

    entries: list[Entry]
    next: str | None
    """Where the next page begins; None on the last."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the entries of one place come from."""

    place: str
    select: str
    """A query for key, order_id, state, since, lines. Rows without an order_id are not entries."""
    key: type[UUID] | type[int]
    """The type of the key, which is unique and indexed: it tells where a page ends."""


type Fetch = Callable[[str], dict[str, Any] | None]
"""Reads a path of the other service's API; None for what it does not have. Raises PeerError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """What a service gives to the ledger: where its entries are, and how it mends its own rows."""

    service: str
    peer: str
    hears: str
    """The way of the messages that this service takes: CREATED or PROCESSED."""
    source: Source
    """The orders, or the records."""
    announce: Mapping[Wrong, Callable[[Sequence[UUID]], int]]
    """Functions that mend what this service can mend by itself: each takes some ids and returns how many it mended."""
    restore: Mapping[Wrong, Callable[[Sequence[UUID], Fetch], int]] = field(default_factory=dict)
    """Functions that mend with what the other service tells of each order."""

    @property
    def sources(self) -> tuple[Source, ...]:
        return (self.source, _outbox(self.hears), _dead_letters(self.hears), _discarded(self.hears))

    @property
    def places(self) -> str:
        """A regular expression for all that `page` takes as `after`."""
        return f"^({'|'.join(f'{source.place}:{_KEYS[source.key]}' for source in self.sources)})$"

    def mends(self, wrong: Wrong) -> bool:
        """Whether `--repair` of this service does something about it."""
        return wrong in self.announce or wrong in self.restore

    def page(self, *, after: str | None = None, limit: int = MAX_PAGE) -> Page:
        """Up to `limit` entries that follow `after`, in an order that never changes.

        Raises ValueError for an `after` that is not the `next` of a page. Costs the same at the beginning and the end.
        What moves while the pages are read may show up in its old place, its new place, both or neither.
        """
        sources, key = self._from(after)
        entries: list[Entry] = []
        read = 0
        for source in sources:
            rows = _rows(source, key, limit - read)
            entries += [Entry(row[1], source.place, *row[2:]) for row in rows if row[1] is not None]
            read += len(rows)
            if read == limit:
                return Page(entries, f"{source.place}:{rows[-1][0]}")
            key = None
        return Page(entries, None)

    def pages(self) -> Iterator[Page]:
        """The whole book."""
        page = self.page()
        yield page
        while page.next:
            page = self.page(after=page.next)
            yield page

    def _from(self, after: str | None) -> tuple[tuple[Source, ...], UUID | int | None]:
        if after is None:
            return self.sources, None
        place, _, text = after.partition(":")
        for number, source in enumerate(self.sources):
            if source.place == place and re.fullmatch(_KEYS[source.key], text):
                return self.sources[number:], source.key(text)
        raise ValueError(after)


_KEYS: Mapping[type, str] = {UUID: "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", int: "[0-9]{1,18}"}


def book() -> Book:
    """This service's book."""
    found: Book = import_string(settings.LEDGER["BOOK"])
    return found


def entries_sql(book: Book) -> str:
    """A query of the whole book: order_id, place, state, since, lines."""
    return " UNION ALL ".join(
        f"SELECT order_id, '{source.place}' AS place, state::text, since, lines"
        f" FROM ({source.select}) AS found WHERE order_id IS NOT NULL"
        for source in book.sources
    )


def _rows(source: Source, after: UUID | int | None, limit: int) -> list[tuple[Any, ...]]:
    where, parameters = ("", [limit]) if after is None else ("WHERE key > %s", [after, limit])
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM ({source.select}) AS entry {where} ORDER BY key LIMIT %s", parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


# The body of a dead letter may be anything. If it names an order as our events do, it is about that order, even if the
# rest cannot be read. `encode` takes any bytes; the hyphens are optional where PostgreSQL's uuid may leave them out.
_ORDER_ID = r"""substring(
    encode(body, 'escape')
    FROM '"order_id"\s*:\s*"([0-9A-Fa-f]{8}-?[0-9A-Fa-f]{4}-?[0-9A-Fa-f]{4}-?[0-9A-Fa-f]{4}-?[0-9A-Fa-f]{12})"'
)::uuid"""


def _outbox(hears: str) -> Source:
    """Announcements, and dead letters that are being replayed: the type of these may be empty."""
    select = f"""
        SELECT id AS key, {_ORDER_ID} AS order_id, {_way(hears)} AS state, created_at AS since, NULL::int AS lines
        FROM messaging_outboxmessage WHERE {_OURS}"""
    return Source("outbox", select, int)


def _dead_letters(hears: str) -> Source:
    select = f"""
        SELECT id AS key, {_ORDER_ID} AS order_id, '{hears}' AS state, last_failed_at AS since, NULL::int AS lines
        FROM messaging_deadletter WHERE status = 'waiting' AND {_OURS}"""
    return Source(DEAD_LETTER, select, int)


def _discarded(hears: str) -> Source:
    """From the actions of operators, which no purge removes. Not if the dead letter came again and was settled anew."""
    select = f"""
        SELECT id AS key, substring(subject FROM '^({_KEYS[UUID]})$')::uuid AS order_id, '{hears}' AS state,
            at AS since, NULL::int AS lines
        FROM messaging_operatoraction AS done
        WHERE action = 'discard' AND NOT EXISTS (
            SELECT FROM messaging_operatoraction AS later
            WHERE later.dead_letter_id = done.dead_letter_id AND later.id > done.id)"""
    return Source(DISCARDED, select, int)


_OURS = f"type IN ('{OrderCreated.TYPE}', '{OrderProcessed.TYPE}', '')"


def _way(hears: str) -> str:
    ways = {OrderCreated.TYPE: CREATED, OrderProcessed.TYPE: PROCESSED}
    cases = " ".join(f"WHEN '{type_}' THEN '{way}'" for type_, way in ways.items())
    return f"CASE type {cases} ELSE '{hears}' END"
