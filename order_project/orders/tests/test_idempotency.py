"""Idempotency-Key: the same order however often it is sent, whoever races whom."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from rest_framework.test import APIClient

from messaging.models import OutboxMessage
from orders import services
from orders.models import Order, OrderItem
from orders.new_order import NewOrder
from orders.services import IdempotencyKeyInUse
from orders.tests.factories import NEW_ORDER, ONE_LINE, body, item, outbox_without_room, verdict
from orders.tests.threads import at_once, in_another_thread, in_thread


def post(data: Any = None, key: str | None = "key-1") -> Any:
    headers = {} if key is None else {"Idempotency-Key": key}
    return APIClient().post("/orders", data or body(), headers=headers)


@pytest.mark.django_db(transaction=True)
def test_the_same_key_and_body_get_the_first_answer_again():
    first = post()
    again = post()

    assert first.status_code == again.status_code == 201
    assert again.content == first.content
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert Order.objects.count() == 1
    assert OrderItem.objects.count() == 2
    assert OutboxMessage.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_the_first_answer_stays_the_same_when_the_order_has_become_final():
    first = post()
    with transaction.atomic():
        services.record_results([verdict(Order.objects.get().id, "failed", "too much")])

    again = post()

    assert again.content == first.content
    assert again.json()["status"] == "pending"
    assert Order.objects.get().status == "failed"


@pytest.mark.django_db(transaction=True)
def test_it_is_remembered_how_often_an_order_was_sent_again():
    post()
    first = Order.objects.get()
    assert (first.replays, first.last_replayed_at) == (0, None)

    for _ in range(2):
        post()
    post(body(customer_id="customer-2"))  # refused: this is no replay

    order = Order.objects.get()
    assert order.replays == 2
    assert order.last_replayed_at is not None
    assert order.last_replayed_at > order.created_at
    assert order.updated_at == first.updated_at


@pytest.mark.django_db(transaction=True)
def test_an_order_that_somebody_holds_is_answered_again_without_waiting_and_not_counted():
    first = post()
    answers = []
    with transaction.atomic():
        Order.objects.select_for_update().get()
        thread = threading.Thread(target=lambda: answers.append(in_thread(lambda: post())))
        thread.start()
        thread.join(timeout=30)

    (answer,) = answers
    assert answer.content == first.content
    assert answer.headers["Idempotent-Replayed"] == "true"
    assert Order.objects.get().replays == 0


@pytest.mark.django_db(transaction=True)
def test_the_same_order_written_otherwise_counts_as_the_same():
    first, again = (
        APIClient().generic(
            "POST", "/orders", written, content_type="application/json", headers={"Idempotency-Key": "key-1"}
        )
        for written in (
            '{"customer_id":"c","items":[{"product_id":"p","quantity":1,"price":46}]}',
            '{ "items": [{"price": 46.00, "quantity": 1, "product_id": "p"}], "customer_id": "\\u0063" }',
        )
    )

    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json() == first.json()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "other", [body(customer_id="customer-2"), body(items=[item()]), body(items=list(reversed(body()["items"])))]
)
def test_the_same_key_with_another_body_is_refused(other):
    post()

    answer = post(other)

    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["detail"]
    assert Order.objects.get().customer_id == "customer-1"
    assert OutboxMessage.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_other_keys_and_no_keys_place_other_orders():
    for key in ("key-1", "key-2", None, None):
        assert post(key=key).status_code == 201

    assert Order.objects.count() == 4


@pytest.mark.django_db(transaction=True)
def test_a_key_belongs_to_the_user_who_sent_it(operator):
    signed_in = APIClient()
    signed_in.force_authenticate(operator)

    of_nobody = post()
    of_operator = signed_in.post("/orders", body(), headers={"Idempotency-Key": "key-1"})

    assert of_operator.status_code == 201
    assert of_operator.json()["id"] != of_nobody.json()["id"]
    assert Order.objects.filter(placed_by=operator).count() == 1

    again = [post(), signed_in.post("/orders", body(), headers={"Idempotency-Key": "key-1"})]
    assert [answer.json()["id"] for answer in again] == [of_nobody.json()["id"], of_operator.json()["id"]]
    assert [answer.headers["Idempotent-Replayed"] for answer in again] == ["true", "true"]


@pytest.mark.django_db(transaction=True)
def test_a_request_that_was_refused_leaves_its_key_free():
    assert post(body(items=[])).status_code == 422

    assert post().status_code == 201


@pytest.mark.django_db(transaction=True)
def test_a_request_that_failed_midway_leaves_its_key_free():
    with outbox_without_room(), pytest.raises(IntegrityError, match="no_room"):
        services.place_order(NEW_ORDER, idempotency_key="key-1")

    assert not services.place_order(NEW_ORDER, idempotency_key="key-1").replayed


@pytest.mark.parametrize("key", ["", " ", "a b", "a" * 256, "schlüssel", "tab\tkey", "\x7f"])
@pytest.mark.django_db
def test_a_key_that_is_not_visible_ascii_is_refused(key):
    answer = post(key=key)

    assert answer.status_code == 400
    assert "Idempotency-Key" in answer.json()["detail"]
    assert not Order.objects.exists()


@pytest.mark.django_db
def test_a_key_may_have_255_characters():
    assert post(key="~" * 255).status_code == 201


@pytest.mark.django_db(transaction=True)
def test_a_second_request_is_told_at_once_that_the_first_is_still_under_way():
    answers = []
    with transaction.atomic():
        with connection.cursor() as cursor:  # as the first request does before anything else
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [services.lock_of_key("orders", None, "key-1")])
        thread = threading.Thread(target=lambda: answers.append(in_thread(lambda: post())))
        thread.start()
        thread.join(timeout=10)

    (answer,) = answers
    assert answer.status_code == 409
    assert "Idempotency-Key" in answer.json()["detail"]
    assert answer.headers["Retry-After"] == "1"
    assert not Order.objects.exists()
    assert post().status_code == 201


@pytest.mark.django_db(transaction=True)
def test_the_key_of_a_request_that_is_under_way_is_free_for_other_users(operator):
    signed_in = APIClient()
    signed_in.force_authenticate(operator)
    with transaction.atomic():
        with connection.cursor() as cursor:  # as somebody's first request does before anything else
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [services.lock_of_key("orders", None, "key-1")])
        answer = in_another_thread(
            lambda: signed_in.post("/orders", body(), headers={"Idempotency-Key": "key-1"}),
        )

    assert answer.status_code == 201
    assert Order.objects.get().placed_by == operator


@pytest.mark.django_db(transaction=True)
def test_of_many_requests_at_once_one_places_the_order():
    answers = at_once(12, lambda: post())

    assert {answer.status_code for answer in answers} <= {201, 409}
    created = [answer for answer in answers if answer.status_code == 201]
    assert len([answer for answer in created if "Idempotent-Replayed" not in answer.headers]) == 1
    assert {answer.json()["id"] for answer in created} == {str(Order.objects.get().id)}
    assert OutboxMessage.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_many_different_orders_at_once_under_one_key_one_is_placed():
    numbers = iter(range(12))
    answers = at_once(12, lambda: post(body(customer_id=f"customer-{next(numbers)}")))

    assert {answer.status_code for answer in answers} <= {201, 409, 422}
    (created,) = [answer for answer in answers if answer.status_code == 201]
    assert Order.objects.get().customer_id == created.json()["customer_id"]


@pytest.mark.django_db(transaction=True)
def test_the_unique_constraint_decides_even_where_no_request_sees_the_other(monkeypatch):
    monkeypatch.setattr(services, "lock_of_key", lambda scope, owner, idempotency_key: None)

    placed = at_once(8, lambda: services.place_order(NEW_ORDER, idempotency_key="key-1"))

    assert [result.replayed for result in placed].count(False) == 1
    assert {result.order.order_id for result in placed} == {Order.objects.get().id}
    assert OrderItem.objects.count() == 2
    assert OutboxMessage.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_many_keys_at_once_do_not_hold_each_other_back():
    def place(number: int) -> services.Placed | None:
        try:
            return in_thread(lambda: services.place_order(NewOrder("c", ONE_LINE), idempotency_key=f"key-{number}"))
        except IdempotencyKeyInUse:
            return None

    with ThreadPoolExecutor(8) as pool:
        placed = list(pool.map(place, range(40)))

    assert None not in placed
    assert Order.objects.count() == 40
