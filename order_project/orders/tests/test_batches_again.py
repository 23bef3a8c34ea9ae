"""POST /orders/batch with an Idempotency-Key: the same batch is placed once and answered as it was."""

import threading

import pytest
from django.db import connection, transaction
from django.db.models import F
from rest_framework.test import APIClient

from orders import batches, services
from orders.models import Order, OrderBatch, OrderItem
from orders.tests.batching import (
    GOOD_AND_BAD,
    THREE,
    assert_nothing_was_written,
    assert_placed_once,
    assert_problem,
    checked,
    post,
    post_raw,
)
from orders.tests.factories import body, item, verdict
from orders.tests.threads import at_once, in_another_thread, in_thread


@pytest.mark.django_db(transaction=True)
def test_the_same_key_and_batch_get_the_first_answer_again():
    first = post(GOOD_AND_BAD, key="key-1")
    again = post(GOOD_AND_BAD, key="key-1")

    assert first.status_code == again.status_code == 200
    assert again.content == first.content
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert_placed_once(2)
    assert OrderBatch.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_the_first_answer_stays_the_same_when_orders_have_become_final():
    first = post(key="key-1")
    failed = Order.objects.earliest("id")
    with transaction.atomic():
        services.record_results([verdict(failed.id, "failed", "too much")])

    assert post(key="key-1").content == first.content
    assert Order.objects.get(id=failed.id).status == "failed"


@pytest.mark.django_db(transaction=True)
def test_the_first_answer_stays_the_same_wherever_the_rows_of_items_lie():
    first = post(key="key-1")
    OrderItem.objects.filter(position=0).update(quantity=F("quantity"))  # their rows are now behind the others
    with connection.cursor() as cursor:
        cursor.execute("SET enable_indexscan = off; SET enable_bitmapscan = off")  # an index would sort them by itself
        try:
            again = post(key="key-1")
        finally:
            cursor.execute("RESET enable_indexscan; RESET enable_bitmapscan")

    assert again.content == first.content


@pytest.mark.django_db(transaction=True)
def test_sending_a_batch_again_leaves_no_dead_rows_of_orders_behind():
    post(key="key-1")
    with connection.cursor() as cursor:
        cursor.execute("SELECT last_value FROM orders_orderitem_id_seq")
        before = cursor.fetchone()
        assert post(key="key-1").headers["Idempotent-Replayed"] == "true"
        cursor.execute("SELECT last_value FROM orders_orderitem_id_seq")
        assert cursor.fetchone() == before


@pytest.mark.django_db(transaction=True)
def test_the_same_batch_written_otherwise_counts_as_the_same():
    first, again = (
        post_raw(written, **{"Idempotency-Key": "key-1"})
        for written in (
            '{"orders":[{"customer_id":"c","items":[{"product_id":"p","quantity":1,"price":46}]}, {"a": 1, "b": 2}]}',
            '{"orders": [{"items": [{"price": 46.00, "quantity": 1, "product_id": "p"}], "customer_id": "\\u0063"},'
            ' {"b": 2, "a": 1}]}',
        )
    )

    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json() == first.json()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "other",
    [
        [body()],
        [*GOOD_AND_BAD, body()],
        list(reversed(GOOD_AND_BAD)),
        [GOOD_AND_BAD[0], body(), GOOD_AND_BAD[2]],
        [GOOD_AND_BAD[0], body(items=[item(), item(price=-1)]), GOOD_AND_BAD[2]],
        [GOOD_AND_BAD[0], 10**900, GOOD_AND_BAD[2]],
    ],
    ids=["fewer", "more", "another order", "the bad one mended", "another bad one", "a number for the bad one"],
)
def test_the_same_key_with_another_batch_is_refused(other):
    post(GOOD_AND_BAD, key="key-1")

    problem = assert_problem(post(other, key="key-1"), 422)

    assert problem["detail"] == "This Idempotency-Key was already used for another batch."
    assert_placed_once(2)
    assert OrderBatch.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_batch_in_which_nothing_holds_is_answered_the_same_again():
    first, again = post([{}], key="key-1"), post([{}], key="key-1")

    assert again.content == first.content
    assert again.headers["Idempotent-Replayed"] == "true"
    assert_problem(post([body()], key="key-1"), 422)
    assert not Order.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("other", ['"2.505"', '{"number": "2.505"}'])
def test_a_refused_number_is_another_one_than_its_text(other):
    order = '{"orders": [{"customer_id": "c", "items": [{"product_id": "p", "quantity": 0, "price": %s}]}]}'
    number, again, otherwise = (
        post_raw(order % price, **{"Idempotency-Key": "key-1"}) for price in ("2.505", "2.505", other)
    )

    assert (number.status_code, again.content) == (200, number.content)
    assert_problem(otherwise, 422)


@pytest.mark.django_db(transaction=True)
def test_other_keys_and_no_keys_place_other_batches():
    for key in ("key-1", "key-2", None, None):
        assert post(key=key).status_code == 200

    assert_placed_once(12)
    assert OrderBatch.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_keys_of_batches_and_of_single_orders_do_not_meet():
    assert APIClient().post("/orders", body(), headers={"Idempotency-Key": "key-1"}).status_code == 201

    assert "Idempotent-Replayed" not in post([body()], key="key-1").headers
    assert Order.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_key_belongs_to_the_user_who_sent_it(operator):
    signed_in = APIClient()
    signed_in.force_authenticate(operator)
    headers = {"Idempotency-Key": "key-1"}

    post(key="key-1")
    of_operator = signed_in.post("/orders/batch", {"orders": THREE}, headers=headers)
    again = signed_in.post("/orders/batch", {"orders": THREE}, headers=headers)

    assert "Idempotent-Replayed" not in of_operator.headers
    assert again.content == of_operator.content
    assert Order.objects.filter(placed_by=operator).count() == 3
    assert Order.objects.count() == 6


@pytest.mark.django_db(transaction=True)
def test_a_body_that_was_refused_as_a_whole_leaves_its_key_free():
    assert post([], key="key-1").status_code == 422
    assert post_raw("{", **{"Idempotency-Key": "key-1"}).status_code == 400

    assert "Idempotent-Replayed" not in post(key="key-1").headers
    assert_placed_once(3)


@pytest.mark.django_db
def test_a_key_that_is_not_visible_ascii_is_refused():
    assert_problem(post(key="a b"), 400)
    assert_nothing_was_written()


@pytest.mark.django_db(transaction=True)
def test_a_second_request_is_told_at_once_that_the_first_is_still_under_way():
    answers = []
    with transaction.atomic():
        with connection.cursor() as cursor:  # as the first request does before anything else
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [services.lock_of_key("batches", None, "key-1")])
        thread = threading.Thread(target=lambda: answers.append(in_thread(lambda: post(key="key-1"))))
        thread.start()
        thread.join(timeout=30)

    (answer,) = answers
    assert "Idempotency-Key" in assert_problem(answer, 409)["detail"]
    assert answer.headers["Retry-After"] == "1"
    assert_nothing_was_written()
    assert post(key="key-1").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_the_key_of_a_batch_that_is_under_way_is_free_for_single_orders_and_other_users(operator):
    signed_in = APIClient()
    signed_in.force_authenticate(operator)
    headers = {"Idempotency-Key": "key-1"}
    with transaction.atomic():
        with connection.cursor() as cursor:  # as somebody's first request does before anything else
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [services.lock_of_key("batches", None, "key-1")])
        of_one = in_another_thread(lambda: APIClient().post("/orders", body(), headers=headers))
        of_operator = in_another_thread(lambda: signed_in.post("/orders/batch", {"orders": THREE}, headers=headers))

    assert (of_one.status_code, of_operator.status_code) == (201, 200)
    assert Order.objects.filter(placed_by=operator).count() == 3
    assert Order.objects.count() == 4


@pytest.mark.django_db(transaction=True)
def test_of_many_equal_batches_at_once_one_is_placed():
    answers = at_once(8, lambda: post(key="key-1"))

    assert {answer.status_code for answer in answers} <= {200, 409}
    placed = [answer for answer in answers if answer.status_code == 200]
    assert len([answer for answer in placed if "Idempotent-Replayed" not in answer.headers]) == 1
    assert len({answer.content for answer in placed}) == 1
    assert_placed_once(3)


@pytest.mark.django_db(transaction=True)
def test_of_many_different_batches_at_once_under_one_key_one_is_placed():
    numbers = iter(range(8))
    answers = at_once(8, lambda: post([body(customer_id=f"customer-{next(numbers)}")], key="key-1"))

    assert {answer.status_code for answer in answers} <= {200, 409, 422}
    (placed,) = [answer for answer in answers if answer.status_code == 200]
    assert str(Order.objects.get().id) == placed.json()["results"][0]["order"]["id"]
    assert_placed_once(1)


@pytest.mark.django_db(transaction=True)
def test_the_unique_constraint_decides_even_where_no_request_sees_the_other(monkeypatch):
    monkeypatch.setattr(services, "lock_of_key", lambda scope, owner, idempotency_key: None)

    placed = at_once(8, lambda: batches.place_batch(orders=checked(THREE), idempotency_key="key-1"))

    assert [batch.replayed for batch in placed].count(False) == 1
    assert all(batch.outcomes == placed[0].outcomes for batch in placed)
    assert_placed_once(3)
