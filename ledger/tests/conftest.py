from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.utils import timezone

from ledger.tests.books import TABLE


@pytest.fixture
def keep(db: None) -> Callable[..., UUID]:
    """Puts an order into the book, an hour old unless told otherwise; returns its id."""
    with connection.cursor() as cursor:
        cursor.execute(TABLE)

    def put(state: str = "completed", *, lines: int = 1, order_id: UUID | None = None, age: float = 3600) -> UUID:
        order_id = order_id or uuid4()
        since = timezone.now() - timedelta(seconds=age)
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO ledger_test_order VALUES (%s, %s, %s, %s)", [order_id, state, since, lines])
        return order_id

    return put
