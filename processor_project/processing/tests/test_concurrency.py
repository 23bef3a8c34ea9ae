"""Consumers that handle the same order at the same moment, on connections of their own."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction
from pytest_django.fixtures import Settings

from contracts.events import OrderCreated
from messaging.errors import TransientError
from messaging.models import OutboxMessage
from processing.models import ProcessingRecord
from processing.services import OrderMessage, process_orders
from processing.tests.factories import make_message

pytestmark = pytest.mark.django_db(transaction=True)

WAIT = 30
"""Seconds after which a hanging test gives up. No test waits that long when all is well."""


def write_to_the_database(order: OrderCreated) -> None:
    Group.objects.create(name=f"{order.order_id} {threading.get_ident()}")


@pytest.fixture
def consumers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=3) as pool:
        yield pool


def on_own_connection(action: Callable[[], None]) -> None:
    try:
        action()
    finally:
        connection.close()


class Held:
    """A consumer that has handled its batch and not committed it yet."""

    def __init__(self, pool: ThreadPoolExecutor, messages: list[OrderMessage]) -> None:
        self.handled = threading.Event()
        self.go_on = threading.Event()
        self.commit = True
        self.done = pool.submit(on_own_connection, lambda: self._handle(messages))
        assert self.handled.wait(WAIT)

    def _handle(self, messages: list[OrderMessage]) -> None:
        with transaction.atomic():
            process_orders(messages)
            self.handled.set()
            assert self.go_on.wait(WAIT)
            transaction.set_rollback(not self.commit)

    def finish(self, *, commit: bool) -> None:
        self.commit = commit
        self.go_on.set()
        self.done.result(WAIT)


def wait_for_locks(number: int) -> None:
    """Returns once this many connections to this database wait for another's transaction."""
    query = """
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event = 'transactionid'"""
    end = threading.Event()
    for _ in range(WAIT * 100):
        with connection.cursor() as cursor:
            cursor.execute(query)
            if cursor.fetchone() == (number,):
                return
        end.wait(0.01)
    raise AssertionError("they do not wait for each other's transactions")


def start(pool: ThreadPoolExecutor, messages: list[OrderMessage]) -> "Future[None]":
    return pool.submit(on_own_connection, lambda: process_orders(messages))


def test_the_second_consumer_waits_for_the_first_and_then_keeps_nothing(
    consumers: ThreadPoolExecutor, settings: Settings
) -> None:
    settings.PROCESSING_STEPS = [f"{__name__}.write_to_the_database"]
    first, other = make_message(), make_message()
    second = make_message(order_id=first.payload.order_id)
    holder = Held(consumers, [first])
    waiting = start(consumers, [second, other])
    wait_for_locks(1)
    assert not waiting.done()

    holder.finish(commit=True)

    with pytest.raises(TransientError):
        waiting.result(WAIT)
    assert ProcessingRecord.objects.get().message_id == first.id
    assert OutboxMessage.objects.count() == 1
    assert Group.objects.count() == 1, "what the steps did for an order that another decided must not be kept"

    process_orders([second, other])  # the consumer's next attempt

    assert {record.message_id for record in ProcessingRecord.objects.all()} == {first.id, other.id}
    assert OutboxMessage.objects.count() == 2
    assert Group.objects.count() == 2


def test_the_second_consumer_decides_when_the_first_rolls_back(consumers: ThreadPoolExecutor) -> None:
    first = make_message()
    second = make_message(order_id=first.payload.order_id)
    holder = Held(consumers, [first])
    waiting = start(consumers, [second])
    wait_for_locks(1)

    holder.finish(commit=False)
    waiting.result(WAIT)

    assert ProcessingRecord.objects.get().message_id == second.id
    assert OutboxMessage.objects.count() == 1


def test_consumers_with_the_same_orders_in_another_order_do_not_deadlock(consumers: ThreadPoolExecutor) -> None:
    low, middle, high = batch = sorted((make_message() for _ in range(3)), key=lambda message: message.payload.order_id)
    twin = [make_message(order_id=message.payload.order_id) for message in (high, middle, low)]
    # The first waits for `middle`, and the second, which sorts its orders, for the first one's `low`. Unsorted it would
    # have written `high`, which the first needs next, and wait for `middle` too.
    holder = Held(consumers, [make_message(order_id=middle.payload.order_id)])
    one = start(consumers, batch)
    wait_for_locks(1)
    two = start(consumers, twin)
    wait_for_locks(2)

    holder.finish(commit=False)

    one.result(WAIT)
    with pytest.raises(TransientError):  # a deadlock would raise OperationalError in one of them
        two.result(WAIT)
    assert {record.message_id for record in ProcessingRecord.objects.all()} == {message.id for message in batch}
    assert OutboxMessage.objects.count() == 3
