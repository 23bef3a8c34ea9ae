"""How the books are looked at."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from ledger import reconciliation
from ledger.book import Entry, Wrong
from ledger.tests.books import BOOK
from messaging.database import database_time

pytestmark = pytest.mark.django_db


class Other:
    """The other service, with an empty book. While it is read, something happens, something else at each look."""

    queued: int | None = 0

    def __init__(self, *meanwhile: Callable[[], object]) -> None:
        self._meanwhile = iter(meanwhile)

    def begin(self) -> datetime:
        return database_time()

    def entries(self) -> Iterator[list[Entry]]:
        next(self._meanwhile)()
        yield []


@pytest.fixture(autouse=True)
def empty_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciliation, "messages_on_the_broker", lambda config: 0)


def test_what_has_moved_within_the_time_it_is_given_is_on_its_way(keep: Callable[..., UUID]) -> None:
    keep("completed", age=30)

    result = reconciliation.look(BOOK, Other(lambda: None), older_than=timedelta(seconds=60), again_after=timedelta(0))

    assert result.balanced
    assert (result.counted, result.moved) == (1, 1)


def test_what_moves_while_the_other_book_is_read_is_on_its_way(keep: Callable[..., UUID]) -> None:
    other = Other(lambda: keep("pending", age=0))

    result = reconciliation.look(BOOK, other, older_than=timedelta(0), again_after=timedelta(0))

    assert result.balanced
    assert (result.counted, result.moved) == (1, 1)


def test_only_what_is_wrong_at_both_looks_is_wrong(keep: Callable[..., UUID]) -> None:
    lost = keep("pending")
    other = Other(lambda: None, lambda: keep("pending"))

    result = reconciliation.look(BOOK, other, older_than=timedelta(0), again_after=timedelta(0))

    assert [finding.order_id for finding in result.wrong(Wrong.CREATED, limit=0)] == [lost]


def test_what_seems_wrong_is_looked_at_again(keep: Callable[..., UUID]) -> None:
    keep("pending")
    looked: list[float] = []

    def arrives() -> None:
        looked.append(time.monotonic())
        other.queued = 1

    other = Other(lambda: looked.append(time.monotonic()), arrives)

    result = reconciliation.look(BOOK, other, older_than=timedelta(0), again_after=timedelta(seconds=0.2))

    assert result.balanced
    assert result.places["broker"] == 1
    assert result.queued["processor"] == 1
    assert looked[1] - looked[0] >= 0.2
