"""Files of orders for tests, and `import_orders` run in this process."""

from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from messaging.models import OutboxMessage
from orders import imports, order_file
from orders.models import Order, OrderBatch, OrderItem
from orders.tests.factories import body


class Done(NamedTuple):
    status: int
    out: str
    err: str


def run(file: Path, *options: str) -> Done:
    """Runs the command to its end."""
    out, err = StringIO(), StringIO()
    status = 0
    try:
        call_command("import_orders", str(file), *options, stdout=out, stderr=err)
    except SystemExit as end:
        status = int(end.code or 0)
    except CommandError as error:
        return Done(error.returncode, out.getvalue(), err.getvalue() + str(error))
    return Done(status, out.getvalue(), err.getvalue())


def many(count: int) -> list[dict[str, Any]]:
    return [body(customer_id=f"customer-{number}") for number in range(count)]


def customers() -> list[str]:
    return list(Order.objects.order_by("id").values_list("customer_id", flat=True))


def sessions_of_others() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return int(cursor.fetchone()[0])


def assert_nothing_was_written() -> None:
    for model in (Order, OrderItem, OrderBatch, OutboxMessage):
        assert not model.objects.exists()


def in_chunks_of(monkeypatch: pytest.MonkeyPatch, orders: int, *, at_once: int = 4) -> None:
    monkeypatch.setattr(order_file, "MAX_ORDERS_PER_BATCH", orders)
    monkeypatch.setattr(imports, "_AT_ONCE", at_once)
