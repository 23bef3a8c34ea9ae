"""The pages of a book hold all its entries once, whatever its messages look like."""

from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
from django.db import transaction
from django.utils import timezone

from ledger.book import Entry
from ledger.tests.books import BOOK
from messaging import dead_letters, outbox
from messaging.message import OutgoingMessage
from messaging.models import DeadLetter, OperatorAction, OutboxMessage
from messaging.tests.letters import again, failed, stored

pytestmark = pytest.mark.django_db


def announce(body: bytes, type_: str = "order.created") -> None:
    with transaction.atomic():
        outbox.add([OutgoingMessage(type=type_, body=body)])


def naming(order_id: UUID) -> bytes:
    return b'{"order_id": "%s", "status": "completed"}' % str(order_id).encode()


def all_entries(limit: int) -> list[Entry]:
    page = BOOK.page(limit=limit)
    entries = page.entries
    while page.next:
        page = BOOK.page(after=page.next, limit=limit)
        assert len(page.entries) <= limit
        entries = entries + page.entries
    return entries


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7, 100])
def test_the_pages_hold_every_entry_once(keep: Callable[..., UUID], limit: int) -> None:
    orders = [keep("pending") for _ in range(3)]
    for order_id in orders[:2]:
        announce(naming(order_id))
    stored(type="order.processed", body=naming(orders[2]))

    entries = all_entries(limit)

    assert sorted((entry.place, entry.order_id) for entry in entries) == sorted(
        [
            *(("order", order_id) for order_id in orders),
            *(("outbox", order_id) for order_id in orders[:2]),
            ("dead_letter", orders[2]),
        ]
    )


def test_an_entry_says_what_it_is(keep: Callable[..., UUID]) -> None:
    order_id = keep("failed", lines=3)
    announce(naming(order_id))
    letter = stored(type="order.processed", body=naming(order_id))

    order, message, dead = BOOK.page().entries

    assert (order.state, order.lines) == ("failed", 3)
    assert (message.state, message.lines) == ("created", None)
    assert (dead.state, dead.lines, dead.since) == ("processed", None, letter.last_failed_at)


def test_a_message_that_is_replayed_goes_the_way_of_its_type_or_of_what_the_service_hears(
    keep: Callable[..., UUID],
) -> None:
    announce(naming(uuid4()), "order.processed")
    announce(naming(uuid4()), "")

    assert [entry.state for entry in BOOK.page().entries] == ["processed", "processed"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe\x00",
        b"not json",
        b'{"order_id": 7}',
        b'{"order_id": "order-7"}',
        b'{"order_id": "019ac5f2-8d0b-7c3e-9a51-6f2b8e4d7a1"}',
        b'{"id": "019ac5f2-8d0b-7c3e-9a51-6f2b8e4d7a10"}',
    ],
)
def test_a_message_that_names_no_order_is_no_entry_and_stops_nothing(keep: Callable[..., UUID], body: bytes) -> None:
    kept = keep()
    stored(type="order.processed", body=body)
    announce(naming(kept))

    assert [entry.place for entry in all_entries(1)] == ["order", "outbox"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"order_id": "019AC5F2-8D0B-7C3E-9A51-6F2B8E4D7A10", "status": ',
        b'\xff {"order_id":\n"019ac5f2-8d0b-7c3e-9a51-6f2b8e4d7a10"}',
        b'{"order_id": "019ac5f28d0b7c3e9a516f2b8e4d7a10"}',
        b'\x00"order_id"  :"019ac5f2-8d0b-7c3e-9a51-6f2b8e4d7a10"',
    ],
)
def test_a_message_that_names_an_order_is_about_it_however_broken_the_rest(
    keep: Callable[..., UUID], body: bytes
) -> None:
    stored(type="", body=body)

    (entry,) = BOOK.page().entries

    assert (entry.place, entry.order_id) == ("dead_letter", UUID("019ac5f2-8d0b-7c3e-9a51-6f2b8e4d7a10"))


def test_dead_letters_that_are_replayed_and_messages_of_other_types_are_no_entries(keep: Callable[..., UUID]) -> None:
    stored(type="order.processed", body=naming(uuid4()))
    dead_letters.replay(dead_letters=DeadLetter.objects.all(), by="anna")
    OutboxMessage.objects.all().delete()
    stored(type="shipment.planned", body=naming(uuid4()))
    announce(naming(uuid4()), "shipment.planned")

    assert BOOK.page().entries == []


def test_a_dead_letter_that_is_discarded_is_an_entry_until_it_comes_again(keep: Callable[..., UUID]) -> None:
    order_id = uuid4()
    message = failed(type="order.processed", body=naming(order_id), subject=str(order_id))
    dead_letters.store([message])
    dead_letters.discard(dead_letters=DeadLetter.objects.all(), by="anna")
    letter = DeadLetter.objects.get()

    (entry,) = BOOK.page().entries

    assert entry == Entry(order_id, "discarded", "processed", OperatorAction.objects.get().at, None)
    dead_letters.store([again(message, type=message.type, subject=message.subject, failed_at=timezone.now())])
    assert [entry.place for entry in all_entries(1)] == ["dead_letter", "discarded"]
    dead_letters.replay(dead_letters=DeadLetter.objects.filter(pk=letter.pk), by="anna")
    assert [entry.place for entry in all_entries(1)] == ["outbox"]


def test_a_dead_letter_that_is_discarded_after_it_was_replayed_is_an_entry(keep: Callable[..., UUID]) -> None:
    order_id = uuid4()
    message = failed(type="order.processed", body=naming(order_id), subject=str(order_id))
    dead_letters.store([message])
    dead_letters.replay(dead_letters=DeadLetter.objects.all(), by="anna")
    OutboxMessage.objects.all().delete()
    dead_letters.store([again(message, type=message.type, subject=message.subject, failed_at=timezone.now())])
    dead_letters.discard(dead_letters=DeadLetter.objects.all(), by="anna")

    assert [(entry.order_id, entry.place) for entry in all_entries(1)] == [(order_id, "discarded")]


@pytest.mark.parametrize("subject", ["", "order-7", "019ac5f2-8d0b-7c3e-9a51-6f2b8e4d7a10-1"])
def test_what_is_discarded_and_names_no_order_is_no_entry(keep: Callable[..., UUID], subject: str) -> None:
    stored(type="order.processed", body=b"{}", subject=subject)
    dead_letters.discard(dead_letters=DeadLetter.objects.all(), by="anna")

    assert BOOK.page().entries == []


@pytest.mark.parametrize("after", ["", "order", "order:1", "outbox:x", "outbox:-1", "record:1", f"queue:{uuid4()}"])
def test_a_page_that_nobody_has_given_out_is_refused(keep: Callable[..., UUID], after: str) -> None:
    with pytest.raises(ValueError, match=f"^{after}$"):
        BOOK.page(after=after)
