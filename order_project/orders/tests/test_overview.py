"""What the first page of the admin says about orders."""

import html
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client, RequestFactory
from django.utils import timezone

from dashboard.snapshot import take
from dashboard.tests.conftest import broker, processes  # noqa: F401 - fixtures
from dashboard.verdict import judge
from orders.models import Order
from orders.overview import PIPELINE
from orders.tests.factories import make_order

FRAGMENT = "/admin/overview/fragment"

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("broker", "processes")]


def final_after(seconds: float, **fields: Any) -> Order:
    order = make_order(**fields)
    Order.objects.filter(pk=order.pk).update(updated_at=order.created_at + timedelta(seconds=seconds))
    return order


def test_orders_are_counted_by_status_with_the_time_until_they_were_final():
    for seconds in (1, 2, 3):
        final_after(seconds, status="completed")
    final_after(4, status="failed")
    make_order()

    snapshot = take(PIPELINE)

    assert snapshot.counts == {"completed": 3, "failed": 1, "pending": 1}
    assert snapshot.took(0.5) == pytest.approx(2000, rel=0.03)
    assert snapshot.took(0.95) == pytest.approx(4000, rel=0.03)
    assert snapshot.open_count == 1
    assert judge(snapshot).is_well


def test_the_oldest_pending_order_is_the_one_that_waits_longest(admin):
    oldest = make_order(at=timezone.now() - timedelta(days=2))
    make_order(at=timezone.now() - timedelta(minutes=2))
    make_order(at=timezone.now() - timedelta(days=3), status="completed")

    shown = html.unescape(admin.get(FRAGMENT).content.decode())

    found = take(PIPELINE).oldest_open
    assert found is not None
    assert found[0] == oldest.id
    assert "The oldest pending order waits for 2 d, longer than 60 s." in shown
    assert f"/admin/orders/order/{oldest.id}/change/" in shown
    assert "“Orders stay pending” in docs/operations.md" in shown


def test_each_status_leads_to_its_orders_of_the_last_hour(admin):
    failed, old = make_order(status="failed"), make_order(status="failed", at=timezone.now() - timedelta(hours=3))
    completed = make_order(status="completed")

    shown = html.unescape(admin.get(FRAGMENT).content.decode())
    url = next(part for part in shown.split('"') if part.startswith("/admin/orders/order/?status__exact=failed&"))
    listed = admin.get(url).content.decode()

    assert str(failed.id) in listed
    assert str(old.id) not in listed
    assert str(completed.id) not in listed


def test_while_there_is_no_order_it_shows_the_command_that_places_one(admin):
    request = RequestFactory().get("/", headers={"host": "localhost:8000"})
    assert "curl -i http://localhost:8000/orders " in PIPELINE.empty(request).command
    assert "curl -i http://localhost:8000/orders " in PIPELINE.empty(None).command

    assert "curl -i http://testserver/orders " in html.unescape(admin.get(FRAGMENT).content.decode())

    make_order()
    assert "curl -i" not in admin.get(FRAGMENT).content.decode()


def test_where_the_api_asks_for_a_token_so_does_the_command_that_places_the_first_order(admin, settings):
    for url in (FRAGMENT, "/admin/orders/order/"):
        assert "Tokens" not in _empty_state(admin, url)

    settings.API_AUTH_REQUIRED = True

    for url in (FRAGMENT, "/admin/orders/order/"):
        shown = _empty_state(admin, url)
        assert "-H 'Authorization: Token YOUR-TOKEN'" in shown
        assert "People → Tokens" in shown
    told = PIPELINE.empty(None)
    assert "People → Tokens" in told.sentence
    assert "-H 'Authorization: Token YOUR-TOKEN'" in told.command


def _empty_state(admin: Client, url: str) -> str:
    shown = html.unescape(admin.get(url).content.decode())
    return shown[shown.index("No orders yet") : shown.index("</pre>") + 200]


def test_its_questions_are_answered_by_indexes():
    now = timezone.now()
    questions: dict[str, dict[str, Any]] = {
        PIPELINE.rows: {"start": now - timedelta(minutes=2), "end": now},
        PIPELINE.oldest_open: {},
        PIPELINE.count_open: {"cap": 10},
    }
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO orders_order (id, customer_id, total_amount, status, created_at, updated_at, correlation_id)
               SELECT gen_random_uuid(), 'c', 1, CASE WHEN n % 100 = 0 THEN 'pending' ELSE 'completed' END,
                   age.at, age.at, ''
               FROM (SELECT n, now() - n * interval '1 minute' AS at FROM generate_series(1, 5000) n) age"""
        )
        cursor.execute("ANALYZE orders_order")
        for question, parameters in questions.items():
            cursor.execute(f"EXPLAIN {question}", parameters)
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert "order_newest" in plan or "order_status" in plan, plan
            assert "Seq Scan" not in plan
            assert "Sort" not in plan
