"""Compares the two books: where each order is, and what is missing, double or stuck. And mends what it can."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from ledger import comparison
from ledger.book import Book, Fetch, Wrong
from ledger.comparison import DISCARDED, PLACES, STUCK, Count, Finding
from ledger.peer import Peer
from messaging.conf import config
from messaging.depth import messages_on_the_broker

MISSING = tuple(kind for kind in Wrong if kind is not Wrong.CONTRADICTION)
DOUBLE = (Wrong.CONTRADICTION,)


@dataclass(frozen=True, slots=True)
class Result:
    """What the last look has found. The lists can be read until the next look."""

    counts: list[Count]
    queued: dict[str, int | None]
    """How many messages each service has in its queues; None where that is not known."""

    @property
    def balanced(self) -> bool:
        """Whether nothing is missing or double, and no order may be on a broker that could not be asked."""
        return not self.orders(*MISSING, *DOUBLE) and not self.unknown

    @property
    def counted(self) -> int:
        return sum(count.orders for count in self.counts)

    @property
    def places(self) -> dict[str, int]:
        """How many orders are in each place, without those that are missing or double."""
        return {
            place: sum(count.orders for count in self.counts if count.place == place and count.wrong is None)
            for place in PLACES
        }

    def staying(self, *places: str) -> int:
        """How many orders have been in one of these places for too long."""
        due = [count for count in self.counts if count.due and count.wrong is None]
        return sum(count.orders for count in due if count.place in places)

    @property
    def stuck_count(self) -> int:
        return self.staying(*STUCK)

    @property
    def discarded_count(self) -> int:
        """How many orders wait for ever because somebody has discarded their message."""
        return self.staying(*DISCARDED)

    @property
    def moved(self) -> int:
        """How many orders have moved too recently to say whether something is wrong with them."""
        return sum(count.orders for count in self.counts if not count.due)

    @property
    def unknown(self) -> int:
        """How many orders can only be on a broker that did not say how many messages it has, if they are anywhere."""
        ways = {"broker": "processor", "result_broker": "orders"}
        return sum(self.staying(place) for place, service in ways.items() if self.queued[service] is None)

    def orders(self, *kinds: Wrong) -> int:
        """How many orders have one of these wrong."""
        return sum(count.orders for count in self.counts if count.wrong in kinds)

    def wrong(self, *kinds: Wrong, limit: int) -> Iterator[Finding]:
        return comparison.wrong(kinds, limit=limit)

    def stuck(self, *, limit: int) -> Iterator[Finding]:
        return comparison.staying(STUCK, limit=limit)

    def discarded(self, *, limit: int) -> Iterator[Finding]:
        return comparison.staying(DISCARDED, limit=limit)


def look(
    book: Book,
    peer: Peer,
    *,
    older_than: timedelta,
    again_after: timedelta,
    on_page: Callable[[int], object] = lambda _: None,
) -> Result:
    """Compares the books. What has moved less than `older_than` ago counts as on its way, with nothing wrong.

    Orders move during a look. So if something seems wrong, the books are compared again after `again_after`, and it is
    reported only if it is still wrong in the same way. Raises PeerError when the other book cannot be read. Changes
    nothing.
    """
    look_once = partial(_look_once, book, peer, older_than=older_than, on_page=on_page)
    result = look_once()
    if not result.orders(*MISSING, *DOUBLE):
        return result
    comparison.suspect()
    time.sleep(again_after.total_seconds())
    queued = look_once().queued
    comparison.confirm()
    return Result(comparison.counts(), queued)


def repair(book: Book, fetch: Fetch | None) -> int:
    """Mends what the last `look` has found and this service can mend. Returns the number of orders mended.

    Without `fetch` it mends only what it can without asking the other service.

    Each chunk is a transaction of its own: a crash leaves some mended. Two repairs at once do no harm: each checks,
    under a lock or by a unique key, whether there is something to mend. Raises PeerError when the other service does
    not tell what is needed; what was mended before that stays.
    """
    mended = 0
    for kind, announce in book.announce.items():
        mended += sum(map(announce, comparison.chunks(kind)))
    if fetch is not None:
        for kind, restore in book.restore.items():
            mended += sum(restore(chunk, fetch) for chunk in comparison.chunks(kind))
    return mended


def _look_once(book: Book, peer: Peer, *, older_than: timedelta, on_page: Callable[[int], object]) -> Result:
    # When they are compared, the other book is older than ours. What has moved since it was begun is on its way.
    due_before = peer.begin() - older_than
    comparison.load(peer.entries(), on_page)
    queued = {book.service: messages_on_the_broker(config()), book.peer: peer.queued}
    comparison.judge(book, due_before=due_before, created_queued=queued["processor"], processed_queued=queued["orders"])
    return Result(comparison.counts(), queued)
