"""The database itself refuses what no order can be."""

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import ProtectedError
from django.db.models.expressions import RawSQL
from django.utils import timezone

from orders.models import Order, OrderItem
from orders.tests.factories import make_order

pytestmark = pytest.mark.django_db

NAN = RawSQL("'NaN'::numeric", [])  # past Django, which would not let it through


def _refused_by(constraint: str, model: type[Order] | type[OrderItem], **changes: object) -> None:
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        model.objects.update(**changes)


@pytest.mark.parametrize("total", [0, -1, NAN], ids=str)
def test_the_database_refuses_a_total_that_is_no_positive_money(total):
    make_order()

    _refused_by("order_total_is_positive_money", Order, total_amount=total)

    assert Order.objects.get().total_amount == 10


@pytest.mark.parametrize("price", [0, -1, NAN], ids=str)
def test_the_database_refuses_a_price_that_is_no_positive_money(price):
    make_order()

    _refused_by("order_item_price_is_positive_money", OrderItem, price=price)


@pytest.mark.parametrize("quantity", [0, -1])
def test_the_database_refuses_a_quantity_that_is_not_positive(quantity):
    make_order()

    _refused_by("order_item_quantity_is_positive", OrderItem, quantity=quantity)


def test_the_database_refuses_an_unknown_status():
    make_order()

    _refused_by("order_status_is_known", Order, status="shipped")


def test_the_database_refuses_a_failed_order_that_does_not_say_why():
    make_order()

    _refused_by("order_failed_says_why", Order, status="failed", error_message=None)


@pytest.mark.parametrize("status", ["pending", "completed"])
def test_the_database_refuses_an_error_on_an_order_that_did_not_fail(status):
    make_order()

    _refused_by("order_failed_says_why", Order, status=status, error_message="too much")


def test_two_items_of_an_order_cannot_have_the_same_position():
    order = make_order()

    with pytest.raises(IntegrityError, match="order_item_position"), transaction.atomic():
        OrderItem.objects.create(order=order, position=0, product_id="beans", quantity=1, price=1)


def test_a_key_is_unique_among_those_who_are_nobody():
    make_order(idempotency_key="key")

    with pytest.raises(IntegrityError, match="order_idempotency_key"), transaction.atomic():
        make_order(idempotency_key="key")


def test_orders_without_a_key_and_orders_of_others_are_free(operator):
    make_order(idempotency_key="key")
    make_order(idempotency_key="key", placed_by=operator)
    make_order()
    make_order()

    assert Order.objects.count() == 4


def test_a_user_who_placed_orders_cannot_be_deleted(operator):
    make_order(placed_by=operator)

    with pytest.raises(ProtectedError):
        operator.delete()


def test_ids_are_uuids_of_version_7_and_grow_with_time():
    first, second = make_order(), make_order()

    assert first.id.version == second.id.version == 7
    assert first.id < second.id


def test_a_migration_exists_for_every_change_of_the_models(capsys):
    from django.core.management import call_command

    call_command("makemigrations", "--check", "--dry-run")

    assert "No changes detected" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ({}, "order_newest"),
        ({"status": "failed"}, "order_status"),
        ({"customer_id": "customer-7"}, "order_customer"),
        ({"created_at__lt": timezone.now()}, "order_newest"),
    ],
)
def test_every_filter_of_the_list_reads_its_page_from_an_index(filters, index):
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO orders_order (id, customer_id, total_amount, status, error_message, created_at, updated_at,
                                         correlation_id)
               SELECT gen_random_uuid(), 'customer-' || i %% 20, 1,
                      CASE WHEN i %% 50 = 0 THEN 'failed' ELSE 'completed' END,
                      CASE WHEN i %% 50 = 0 THEN 'too much' END,
                      now() - i * interval '1 minute', now(), ''
               FROM generate_series(1, 20000) AS i""",
            [],
        )
        cursor.execute("ANALYZE orders_order")

    plan = Order.objects.filter(**filters)[:50].explain()

    assert f"using {index}" in plan, plan
    assert "Seq Scan" not in plan
    assert "Sort" not in plan
