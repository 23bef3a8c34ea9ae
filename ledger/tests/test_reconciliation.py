"""How the books are looked at."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from ledger import reconciliation
from ledger.book import Entry
from ledger.tests.books import BOOK
from messaging.database import database_time

pytestmark = pytest.mark.django_db


class Other:
    """The other service, whose book is empty. While it is read, something happens."""

    queued: int | None = 0

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self._meanwhile = meanwhile

    def begin(self) -> datetime:
        return database_time()

    def entries(self) -> Iterator[list[Entry]]:
        self._meanwhile()
        yield []


def test_what_moves_while_the_other_book_is_read_is_on_its_way(
    keep: Callable[..., UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "messages_on_the_broker", lambda config: 0)
    other = Other(lambda: keep("pending", age=0))

    result = reconciliation.look(BOOK, other, older_than=timedelta(0), again_after=timedelta(0))

    assert result.balanced
    assert (result.counted, result.moved) == (1, 1)
