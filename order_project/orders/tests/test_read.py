"""GET /orders and GET /orders/{order_id}."""

from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.db.models import F
from rest_framework.test import APIClient

from messaging.tests.round_trips import round_trips
from orders.models import OrderItem
from orders.serializers import OrderSerializer
from orders.tests.factories import make_order

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def client() -> APIClient:
    return APIClient()


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.content
    return [order["id"] for order in answer.json()["results"]]


@pytest.mark.django_db
def test_one_order_is_read_with_its_items_in_one_round_trip(client):
    order = make_order(items=3, status="failed", error_message="The total is above the limit.")
    client.get(f"/orders/{order.id}")  # the first request of a connection prepares the statement

    with round_trips() as asked:
        answer = client.get(f"/orders/{order.id}")

    assert asked == ["run"]
    assert answer.status_code == 200
    data = answer.json()
    assert (data["id"], data["status"], data["error_message"]) == (
        str(order.id), "failed", "The total is above the limit.",
    )  # fmt: skip
    assert [line["product_id"] for line in data["items"]] == ["product-0", "product-1", "product-2"]


@pytest.mark.django_db
def test_the_items_of_an_order_are_in_their_order_wherever_their_rows_lie(client):
    order = make_order(items=3)
    OrderItem.objects.filter(position=0).update(quantity=F("quantity"))  # its row is now behind the others
    with connection.cursor() as cursor:  # by an index they might come in order by chance
        cursor.execute("DISCARD PLANS; SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off")

    for data in (client.get(f"/orders/{order.id}").json(), client.get("/orders").json()["results"][0]):
        assert [line["product_id"] for line in data["items"]] == ["product-0", "product-1", "product-2"]


@pytest.mark.django_db
def test_the_answer_has_the_fields_the_serializer_declares(client):
    order = make_order()

    assert set(client.get(f"/orders/{order.id}").json()) == set(OrderSerializer().fields)


@pytest.mark.django_db
@pytest.mark.parametrize("order_id", [str(uuid4()), "1", "no-uuid", "0" * 500, "%00", "a b", "😀", "null", "None"])
def test_an_order_that_does_not_exist_is_answered_404_whatever_its_id_looks_like(client, order_id):
    make_order()

    answer = client.get(f"/orders/{order_id}")

    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["detail"] == "Order not found"


@pytest.mark.django_db
def test_no_orders_are_an_empty_page(client):
    assert client.get("/orders").json() == {"next": None, "previous": None, "results": []}


@pytest.mark.django_db
def test_the_list_is_newest_first(client):
    orders = [make_order(at=NOON + timedelta(minutes=minute)) for minute in (1, 3, 2)]

    assert ids(client.get("/orders")) == [str(orders[1].id), str(orders[2].id), str(orders[0].id)]


@pytest.mark.django_db
def test_orders_of_the_same_moment_are_paged_without_gap_or_repetition(client):
    orders = [make_order(at=NOON) for _ in range(7)]

    pages = _all_pages(client, "/orders?page_size=2")

    assert [len(page) for page in pages] == [2, 2, 2, 1]
    assert sorted(chain(*pages)) == sorted(str(order.id) for order in orders)


@pytest.mark.django_db
def test_pages_lead_forward_and_back_and_do_not_shift_when_orders_come(client):
    old = [str(make_order(at=NOON - timedelta(minutes=minute)).id) for minute in range(5)]

    first = client.get("/orders?page_size=2").json()
    make_order(at=NOON + timedelta(hours=1))
    second = client.get(first["next"]).json()
    back = client.get(second["previous"]).json()

    assert [order["id"] for order in second["results"]] == old[2:4]
    assert [order["id"] for order in back["results"]] == old[:2]
    assert list(chain(*_all_pages(client, first["next"]))) == old[2:]


@pytest.mark.django_db
@pytest.mark.parametrize("orders", [1, 30])
def test_a_page_takes_two_queries_however_many_orders(client, django_assert_num_queries, orders):
    for _ in range(orders):
        make_order(items=2)

    with django_assert_num_queries(2):
        assert len(ids(client.get("/orders"))) == orders


@pytest.mark.django_db
def test_filters_by_status(client):
    made = {status: str(make_order(status=status).id) for status in ("pending", "completed", "failed")}

    for status, order_id in made.items():
        assert ids(client.get("/orders", {"status": status})) == [order_id]


@pytest.mark.django_db
def test_filters_by_exactly_this_customer(client):
    mine = make_order(customer_id="customer-1")
    make_order(customer_id="customer-10")
    make_order(customer_id="Customer-1")

    assert ids(client.get("/orders", {"customer_id": "customer-1"})) == [str(mine.id)]
    assert ids(client.get("/orders", {"customer_id": "nobody"})) == []


@pytest.mark.django_db
def test_filters_by_the_time_between_two_moments_that_are_themselves_outside(client):
    before, first, second, after = (make_order(at=NOON + timedelta(minutes=minute)) for minute in range(4))

    def between(start: str, end: str) -> list[str]:
        return ids(client.get("/orders", {"created_after": start, "created_before": end}))

    inside = [str(second.id), str(first.id)]
    assert between(before.created_at.isoformat(), after.created_at.isoformat()) == inside
    assert between("2026-11-22T12:00:30Z", "2026-11-22T12:02:30Z") == inside
    assert between("2026-11-22T13:00:30+01:00", "2026-11-22T12:02:30") == inside


@pytest.mark.django_db
def test_filters_narrow_each_other_and_hold_over_pages(client):
    wanted = [
        make_order(status="failed", customer_id="c", at=NOON + timedelta(minutes=minute)) for minute in range(1, 6)
    ]
    make_order(status="failed", customer_id="d", at=NOON + timedelta(minutes=3))
    make_order(status="completed", customer_id="c", at=NOON + timedelta(minutes=3))
    make_order(status="failed", customer_id="c", at=NOON - timedelta(minutes=1))

    pages = _all_pages(client, "/orders?page_size=2&status=failed&customer_id=c&created_after=2026-11-22T12:00:00Z")

    assert list(chain(*pages)) == [str(order.id) for order in reversed(wanted)]


@pytest.mark.django_db
def test_orders_of_one_moment_as_those_of_a_batch_are_on_one_page_each(client):
    older = make_order(at=NOON - timedelta(minutes=1))
    batch = [make_order(at=NOON) for _ in range(7)]

    pages = _all_pages(client, "/orders?page_size=3")

    assert list(chain(*pages)) == [str(order.id) for order in (*reversed(batch), older)]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("status", "shipped"),
        ("status", ""),
        ("status", "PENDING"),
        ("customer_id", ""),
        ("customer_id", "c" * 256),
        ("customer_id", "c\0"),
        ("created_after", "yesterday"),
        ("created_after", ""),
        ("created_after", "2026-02-30T00:00:00Z"),
        ("created_before", "1763800000"),
        ("created_before", "9999-12-31T23:59:59-14:00"),
        ("page_size", "0"),
        ("page_size", "501"),
        ("page_size", "ten"),
    ],
)
def test_a_bad_parameter_is_answered_422_that_names_it(client, parameter, value):
    make_order()

    answer = client.get("/orders", {parameter: value})

    assert answer.status_code == 422, answer.content
    assert answer.headers["Content-Type"] == "application/problem+json"
    (error,) = answer.json()["errors"]
    assert error["pointer"] == f"?{parameter}"
    assert error["detail"]


@pytest.mark.django_db
@pytest.mark.parametrize("cursor", ["garbage", "W2ZhbHNlLCBbIm5vd2hlcmUiLCAibm93aGVyZSJdXQ==", ""])
def test_a_page_that_is_not_there_is_answered_404(client, cursor):
    make_order()

    answer = client.get("/orders", {"cursor": cursor})

    assert answer.status_code == 404, answer.content
    assert answer.headers["Content-Type"] == "application/problem+json"
    (error,) = answer.json()["errors"]
    assert error["pointer"] == "?cursor"


def _all_pages(client: APIClient, url: str) -> list[list[str]]:
    pages = []
    while url:
        page = client.get(url).json()
        pages.append([order["id"] for order in page["results"]])
        url = page["next"]
    return pages
