"""Each order gets one verdict, from what both books say of it."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from ledger import comparison
from ledger.book import Entry, Wrong
from ledger.reconciliation import Result
from ledger.tests.books import BOOK
from ledger.tests.test_book import announce, naming
from messaging import dead_letters, retention
from messaging.models import DeadLetter, OperatorAction
from messaging.tests.letters import stored

pytestmark = pytest.mark.django_db

Keep = Callable[..., UUID]


def theirs(
    order_id: UUID, place: str = "record", state: str = "completed", *, lines: int | None = 1, age: float = 3600
) -> Entry:
    return Entry(order_id, place, state, timezone.now() - timedelta(seconds=age), lines)


def discarded(order_id: UUID) -> None:
    """A result that this service could not take, discarded an hour ago."""
    letter = stored(type="order.processed", body=naming(order_id), subject=str(order_id))
    dead_letters.discard(dead_letters=DeadLetter.objects.filter(pk=letter.pk), by="anna")
    an_hour_ago = timezone.now() - timedelta(hours=1)
    DeadLetter.objects.filter(pk=letter.pk).update(settled_at=an_hour_ago)
    OperatorAction.objects.filter(dead_letter_id=letter.pk).update(at=an_hour_ago)


def compare(*entries: Entry, created_queued: int | None = 0, processed_queued: int | None = 0) -> Result:
    comparison.load([entries[:1], entries[1:]], lambda number: None)
    comparison.judge(
        BOOK,
        due_before=timezone.now() - timedelta(seconds=60),
        created_queued=created_queued,
        processed_queued=processed_queued,
    )
    return Result(comparison.counts(), {"processor": created_queued, "orders": processed_queued})


def wrong() -> dict[UUID, str]:
    return {finding.order_id: finding.what for finding in comparison.wrong(list(Wrong), limit=0)}


def stuck() -> dict[UUID, str]:
    return {finding.order_id: finding.what for finding in comparison.staying(comparison.STUCK, limit=0)}


def test_what_both_know_alike_is_final(keep: Keep) -> None:
    completed, failed = keep("completed", lines=2), keep("failed")

    result = compare(theirs(completed, lines=2), theirs(failed, state="failed"))

    assert result.balanced
    assert (result.counted, result.places["final"]) == (2, 2)
    assert (wrong(), stuck()) == ({}, {})


@pytest.mark.parametrize(
    ("status", "record", "what"),
    [
        ("pending", None, Wrong.CREATED),
        ("pending", ("completed", 1), Wrong.PROCESSED),
        ("completed", None, Wrong.RECORD),
        ("failed", None, Wrong.RECORD),
        (None, ("failed", 1), Wrong.ORDER),
        ("completed", ("completed", 2), Wrong.ITEMS),
        ("pending", ("completed", 2), Wrong.ITEMS),
        ("completed", ("failed", 1), Wrong.CONTRADICTION),
        ("failed", ("completed", 1), Wrong.CONTRADICTION),
    ],
)
def test_what_is_wrong_is_named(keep: Keep, status: str | None, record: tuple[str, int] | None, what: Wrong) -> None:
    order_id = keep(status) if status else uuid4()
    good = keep()

    result = compare(theirs(good), *([theirs(order_id, state=record[0], lines=record[1])] if record else []))

    assert not result.balanced
    assert wrong() == {order_id: what}
    assert stuck() == {}
    assert (result.counted, sum(result.places.values()), result.orders(what)) == (2, 1, 1)


@pytest.mark.parametrize(
    ("status", "record"),
    [("pending", None), ("pending", "completed"), ("completed", None), (None, "failed"), ("completed", "failed")],
)
def test_what_has_just_moved_is_on_its_way(keep: Keep, status: str | None, record: str | None) -> None:
    order_id = keep(status, age=10) if status else uuid4()

    result = compare(*([theirs(order_id, state=record, age=10)] if record else []))

    assert result.balanced
    assert (result.counted, result.moved, result.stuck_count, wrong()) == (1, 1, 0, {})


def test_the_newest_of_its_entries_says_when_an_order_has_moved(keep: Keep) -> None:
    order_id = keep("pending", age=3600)

    compare(theirs(order_id, age=10))

    assert (wrong(), stuck()) == ({}, {})


def test_an_order_is_where_its_message_is(keep: Keep) -> None:
    ids = [keep("pending") for _ in range(5)]
    dead_letter, outbox, result_outbox, result_dead_letter, fresh = ids
    stored(type="order.processed", body=naming(result_dead_letter))
    announce(naming(fresh))

    result = compare(
        theirs(dead_letter, "dead_letter", "created", lines=None),
        theirs(outbox, "outbox", "created", lines=None),
        theirs(result_outbox),
        theirs(result_outbox, "outbox", "processed", lines=None),
        theirs(result_dead_letter),
    )

    assert result.balanced
    assert stuck() == {
        dead_letter: "dead_letter",
        outbox: "outbox",
        result_outbox: "result_outbox",
        result_dead_letter: "result_dead_letter",
    }
    assert result.places == {
        "outbox": 2,  # the one that has just been announced is not stuck
        "broker": 0,
        "dead_letter": 1,
        "result_outbox": 1,
        "result_broker": 0,
        "result_dead_letter": 1,
        "discarded": 0,
        "result_discarded": 0,
        "final": 0,
    }


def test_a_dead_letter_about_an_order_that_nobody_has_waits_and_is_not_missing(keep: Keep) -> None:
    order_id = uuid4()

    result = compare(theirs(order_id, "dead_letter", "created", lines=None))

    assert result.balanced
    assert stuck() == {order_id: "dead_letter"}


@pytest.mark.parametrize("is_purged", [False, True])
def test_an_order_whose_message_somebody_has_discarded_is_neither_lost_nor_stuck(keep: Keep, is_purged: bool) -> None:
    order, result, nobody_s = keep("pending"), keep("pending"), uuid4()
    for order_id in (result, nobody_s):
        discarded(order_id)
    if is_purged:
        retention.purge(before=timezone.now())
        assert not DeadLetter.objects.exists()

    found = compare(theirs(order, "discarded", "created", lines=None), theirs(result))

    assert found.balanced
    assert (wrong(), stuck(), found.stuck_count) == ({}, {}, 0)
    assert {finding.order_id: finding.what for finding in found.discarded(limit=0)} == {
        order: "discarded",
        result: "result_discarded",
        nobody_s: "result_discarded",
    }
    assert (found.discarded_count, found.places["discarded"], found.places["result_discarded"]) == (3, 1, 2)


def test_what_has_come_of_an_order_after_all_or_stands_somewhere_counts_more_than_a_discarded_message(
    keep: Keep,
) -> None:
    final, decided, announced, dead = keep("completed"), keep("pending"), keep("pending"), keep("pending")
    missing = uuid4()
    for order_id in (final, missing, dead):
        discarded(order_id)
    stored(type="order.processed", body=naming(dead))

    found = compare(
        *(theirs(order_id, "discarded", "created", lines=None) for order_id in (final, decided, announced)),
        *(theirs(order_id) for order_id in (final, decided, missing)),
        theirs(announced, "outbox", "created", lines=None),
    )

    assert wrong() == {decided: Wrong.PROCESSED, missing: Wrong.ORDER}
    assert stuck() == {announced: "outbox", dead: "result_dead_letter"}
    assert (found.places["final"], found.discarded_count) == (1, 0)


def test_messages_left_over_of_a_final_order_change_nothing(keep: Keep) -> None:
    order_id = keep()
    announce(naming(order_id))

    result = compare(theirs(order_id), theirs(order_id, "dead_letter", "created", lines=None))

    assert (result.places["final"], wrong(), stuck()) == (1, {}, {})


def test_what_no_book_explains_is_on_the_broker_as_long_as_its_queues_hold_as_many_messages(keep: Keep) -> None:
    waiting = [keep("pending") for _ in range(3)]
    reported = [keep("pending") for _ in range(2)]
    records = [theirs(order_id) for order_id in reported]

    result = compare(*records, created_queued=3, processed_queued=2)

    assert result.balanced
    assert stuck() == dict.fromkeys(waiting, "broker") | dict.fromkeys(reported, "result_broker")

    result = compare(*records, created_queued=2, processed_queued=2)

    assert not result.balanced
    assert wrong() == dict.fromkeys(waiting, Wrong.CREATED)
    assert stuck() == dict.fromkeys(reported, "result_broker")

    compare(*records, created_queued=3, processed_queued=1)

    assert wrong() == dict.fromkeys(reported, Wrong.PROCESSED)


def test_orders_that_have_just_been_placed_need_no_message_in_the_queues(keep: Keep) -> None:
    old = keep("pending")
    for _ in range(5):
        keep("pending", age=1)

    assert compare(created_queued=1).balanced
    assert stuck() == {old: "broker"}


def test_what_has_just_moved_is_not_lost_beside_what_is(keep: Keep) -> None:
    lost = keep("pending")
    keep("pending", age=1)

    result = compare()

    assert wrong() == {lost: Wrong.CREATED}
    assert result.moved == 1


def test_what_else_is_wrong_is_not_called_lost_beside_what_is(keep: Keep) -> None:
    lost, short = keep("pending"), keep("pending")

    compare(theirs(lost), theirs(short, lines=2))

    assert wrong() == {lost: Wrong.PROCESSED, short: Wrong.ITEMS}


def test_nothing_is_lost_nor_balanced_when_the_broker_cannot_be_asked(keep: Keep) -> None:
    order_id = keep("pending")

    result = compare(created_queued=None)

    assert (result.balanced, result.unknown, wrong()) == (False, 1, {})
    assert stuck() == {order_id: "broker"}
    assert compare(theirs(order_id), processed_queued=None).unknown == 1
    assert compare(theirs(order_id, "dead_letter", "created", lines=None), created_queued=None).balanced


def test_only_what_is_wrong_in_the_same_way_at_the_second_look_is_wrong(keep: Keep) -> None:
    both, first, changed = keep("completed"), keep("completed"), keep("completed")
    compare()
    comparison.suspect()
    second = keep("completed")
    compare(theirs(first), theirs(changed, state="failed"))

    comparison.confirm()

    assert wrong() == {both: Wrong.RECORD}
    result = Result(comparison.counts(), {"processor": 0, "orders": 0})
    assert result.counted == 4
    assert result.places["final"] == 3
    assert second not in stuck()


def test_the_lists_end_at_their_limit_and_the_chunks_do_not(keep: Keep) -> None:
    ids = [keep("completed", age=3600 + number) for number in range(7)]
    waiting = [keep("pending") for _ in range(3)]
    compare(created_queued=3)

    oldest = comparison.wrong([Wrong.RECORD], limit=2)
    assert [finding.order_id for finding in oldest] == [ids[6], ids[5]]
    assert len(list(comparison.staying(comparison.STUCK, limit=2))) == 2
    assert len(list(comparison.staying(comparison.STUCK, limit=0))) == len(waiting)
    chunks = list(comparison.chunks(Wrong.RECORD, size=3))
    assert [len(chunk) for chunk in chunks] == [3, 3, 1]
    assert sorted(order_id for chunk in chunks for order_id in chunk) == sorted(ids)
    assert list(comparison.chunks(Wrong.ORDER)) == []
