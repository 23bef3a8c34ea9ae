"""Who is first with a message that several consumers have at once."""

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction

from messaging import inbox
from messaging.message import Message
from messaging.models import InboxMessage
from messaging.tests.locks import wait_until_somebody_waits_for_us

pytestmark = pytest.mark.django_db(transaction=True)


def message(number: int, type_: str = "t") -> Message[None]:
    return Message(id=uuid.UUID(int=number), type=type_, payload=None, correlation_id="c", traceparent="", attempt=1)


def admit(*messages: Message[None]) -> list[Message[None]]:
    """Admits them as a consumer does, on a connection of its own."""
    try:
        with transaction.atomic():
            return inbox.admit(messages)
    finally:
        connection.close()


def test_consumers_with_the_same_messages_in_another_order_do_not_deadlock() -> None:
    low, high = message(1), message(2)
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            assert inbox.admit([low]) == [low]
            other = pool.submit(admit, high, low)
            wait_until_somebody_waits_for_us()
            assert inbox.admit([high]) == [high]  # where the other holds this one, each waits for the other
        assert other.result(60) == []
    assert InboxMessage.objects.count() == 2


def test_of_an_id_with_another_type_it_warns_once_although_the_batch_is_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    admit(message(1))
    for fails in (True, False):
        with transaction.atomic():
            assert inbox.admit([message(1, "other")]) == []
            transaction.set_rollback(fails)
    assert [record.message for record in caplog.records] == ["message ignored for its id"]
