"""A book for tests. A test fills the table with its orders."""

from uuid import UUID

from ledger.book import PROCESSED, Book, Source

TABLE = """
    CREATE TABLE ledger_test_order (
        order_id uuid PRIMARY KEY, state text NOT NULL, since timestamptz NOT NULL, lines integer NOT NULL
    )"""

BOOK = Book(
    service="orders",
    peer="processor",
    hears=PROCESSED,
    source=Source("order", "SELECT order_id AS key, order_id, state, since, lines FROM ledger_test_order", UUID),
    announce={},
)
