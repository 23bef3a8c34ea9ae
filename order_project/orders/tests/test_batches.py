"""POST /orders/batch: each order is taken or refused by itself; what is taken is placed together or not at all."""

import json
import logging
import math
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone
from msgspec.structs import replace
from prometheus_client import REGISTRY
from rest_framework.test import APIClient

from contracts.events import OrderCreated
from messaging import backpressure
from messaging.models import OutboxMessage
from messaging.tests.round_trips import round_trips
from orders import batches
from orders.models import Order, OrderBatch
from orders.new_order import NewOrder
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
from orders.tests.factories import body, item, outbox_without_room
from orders.tests.test_post import UNREADABLE, WRONG_VALUES


@pytest.mark.django_db
def test_every_order_is_answered_as_if_it_had_come_alone_and_in_the_order_it_came():
    answer = post([body(), body(customer_id="Zoë 顧客", items=[item(price=39.95)])])

    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert (answer.json()["accepted"], answer.json()["refused"]) == (2, 0)
    first, second = answer.json()["results"]
    assert first["status"] == second["status"] == 201
    assert second["order"]["customer_id"] == "Zoë 顧客"
    for result in (first, second):
        assert APIClient().get(f"/orders/{result['order']['id']}").json() == result["order"]
    alone = APIClient().post("/orders", body()).json()
    changing = {"id", "created_at", "updated_at"}
    assert {name: value for name, value in alone.items() if name not in changing} == {
        name: value for name, value in first["order"].items() if name not in changing
    }


@pytest.mark.django_db
def test_each_order_is_kept_with_its_items_and_announced_by_a_message_of_its_own():
    post(**{"X-Request-ID": "request-7"})

    assert_placed_once(3)
    announced = [OrderCreated.from_json(bytes(message.body)) for message in OutboxMessage.objects.order_by("id")]
    assert [event.customer_id for event in announced] == ["customer-0", "customer-1", "customer-2"]
    assert len({message.message_id for message in OutboxMessage.objects.all()}) == 3
    for event in announced:
        order = Order.objects.get(id=event.order_id)
        assert (order.customer_id, order.status, order.total_amount) == (event.customer_id, "pending", Decimal(46))
        assert order.created_at == order.updated_at == event.created_at
        assert list(order.items.values_list("position", "product_id", "quantity", "price")) == [
            (0, "beans", 2, Decimal("18.50")),
            (1, "filters", 1, Decimal("9.00")),
        ]
    for message in OutboxMessage.objects.all():
        assert (message.type, message.routing_key, message.exchange) == ("order.created", "order.created", "orders")
        assert message.correlation_id == "request-7"
        assert message.headers["schema-version"] == 1
    assert set(Order.objects.values_list("correlation_id", flat=True)) == {"request-7"}


@pytest.mark.django_db
def test_a_message_of_a_batch_is_like_that_of_a_single_order():
    APIClient().post("/orders", body())
    post([body()])

    alone, of_batch = OutboxMessage.objects.order_by("id")
    different = {"_state", "id", "message_id", "body", "headers", "correlation_id", "available_at", "created_at"}
    assert {name: value for name, value in vars(alone).items() if name not in different} == {
        name: value for name, value in vars(of_batch).items() if name not in different
    }
    assert alone.headers.keys() == of_batch.headers.keys()


@pytest.mark.django_db
def test_an_order_that_does_not_hold_is_refused_alone_and_the_others_are_placed():
    answer = post(GOOD_AND_BAD)

    assert answer.status_code == 200
    assert (answer.json()["accepted"], answer.json()["refused"]) == (2, 1)
    first, second, third = answer.json()["results"]
    assert (first["status"], third["status"]) == (201, 201)
    assert second == {
        "status": 422,
        "errors": [{"pointer": "/items/1/price", "detail": "Ensure this value is greater than 0."}],
    }
    assert_placed_once(2)


@pytest.mark.django_db
@pytest.mark.parametrize(("data", "pointer"), [wrong[1:] for wrong in WRONG_VALUES], ids=[w[0] for w in WRONG_VALUES])
def test_what_a_single_order_is_refused_for_is_refused_in_a_batch_with_the_same_errors(data, pointer):
    alone = APIClient().generic("POST", "/orders", json.dumps(data), content_type="application/json")

    answer = post([data, body()])

    refused, placed = answer.json()["results"]
    assert pointer in [error["pointer"] for error in refused["errors"]]
    assert refused["status"] == alone.status_code == 422
    assert refused["errors"] == alone.json()["errors"]
    assert placed["status"] == 201
    assert Order.objects.count() == OutboxMessage.objects.count() == 1


@pytest.mark.django_db
def test_a_batch_in_which_nothing_holds_places_nothing():
    answer = post([{}, 7, None, "order", [body()]])

    assert answer.status_code == 200
    assert (answer.json()["accepted"], answer.json()["refused"]) == (0, 5)
    assert all(result["status"] == 422 and result["errors"] for result in answer.json()["results"])
    assert_nothing_was_written()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        ({"orders": []}, "/orders"),
        ({"orders": {}}, "/orders"),
        ({"orders": None}, "/orders"),
        ({"orders": "order"}, "/orders"),
        ({"orders": 1}, "/orders"),
        ({"orders": [body()] * 1001}, "/orders"),
        ({}, "/orders"),
        (body(), "/orders"),
        ([body()], ""),
        (None, ""),
        ("orders", ""),
    ],
    ids=str,
)
def test_a_body_that_is_no_batch_is_refused_as_a_whole(data, pointer):
    problem = assert_problem(post_raw(json.dumps(data)), 422)

    (error,) = problem["errors"]
    assert error["pointer"] == pointer
    assert_nothing_was_written()


@pytest.mark.django_db
def test_1000_orders_are_taken_and_the_refusal_of_1001_says_so():
    problem = assert_problem(post([body()] * 1001), 422)
    assert problem["errors"] == [{"pointer": "/orders", "detail": "A batch has at most 1000 orders."}]

    answer = post([body()] * 1000)

    assert answer.json()["accepted"] == 1000
    assert_placed_once(1000)
    assert len({result["order"]["id"] for result in answer.json()["results"]}) == 1000


@pytest.mark.django_db
@pytest.mark.parametrize("number", [0, 1001])
def test_whoever_places_a_batch_in_another_way_is_held_to_its_limits_too(number):
    with pytest.raises(ValueError, match=f"not {number}"):
        batches.place_batch(orders=checked([body()]) * number)

    assert_nothing_was_written()


@pytest.mark.django_db
def test_no_body_at_all_lacks_the_orders():
    assert [error["pointer"] for error in assert_problem(post_raw(b""), 422)["errors"]] == ["/orders"]


@pytest.mark.django_db
@pytest.mark.parametrize("raw", [case[1] for case in UNREADABLE], ids=[case[0] for case in UNREADABLE])
def test_a_body_that_does_not_parse_is_refused_as_a_whole(raw):
    assert_problem(post_raw(raw), 400)
    assert_nothing_was_written()


@pytest.mark.django_db
def test_half_a_character_anywhere_refuses_the_whole_body():
    raw = json.dumps({"orders": [body(), body(customer_id="HERE")]}).replace("HERE", r"\ud800")

    problem = assert_problem(post_raw(raw), 422)

    assert problem["errors"][0]["pointer"] == "/orders/1/customer_id"
    assert_nothing_was_written()


@pytest.mark.django_db
def test_size_and_media_type_are_limited_as_for_a_single_order(settings):
    too_large = json.dumps({"orders": [body()]}) + " " * settings.API_MAX_BODY_BYTES

    assert_problem(post_raw(too_large), 413)
    assert_problem(post_raw("orders", content_type="text/plain"), 415)
    assert_nothing_was_written()


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
def test_other_methods_are_answered_405_with_the_one_that_is_allowed(method):
    answer = getattr(APIClient(), method)("/orders/batch")

    assert_problem(answer, 405)
    assert "POST" in answer.headers["Allow"]


@pytest.mark.usefixtures("no_look_for_backpressure")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("orders", [1, 1000])
@pytest.mark.parametrize("key", [None, "key-2"])
def test_it_takes_one_prepared_statement_however_many_orders(orders, key):
    post([body()], key=key and "key-1")  # prepares the statement

    with round_trips() as asked:
        assert post([body()] * orders, key=key).status_code == 200

    assert asked == ["run"]


@pytest.mark.django_db(transaction=True)
def test_a_batch_in_which_nothing_holds_does_not_even_ask_the_database():
    post([{}])

    with round_trips() as asked:
        post([{}])

    assert asked == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("key", [None, "key-1"])
def test_nothing_at_all_is_kept_when_the_announcements_cannot_be_written(key):
    before = REGISTRY.get_sample_value("orders_accepted_total")

    with outbox_without_room(), pytest.raises(IntegrityError, match="no_room"):
        batches.place_batch(orders=checked(GOOD_AND_BAD), idempotency_key=key)

    assert_nothing_was_written()
    assert REGISTRY.get_sample_value("orders_accepted_total") == before
    assert not batches.place_batch(orders=checked(GOOD_AND_BAD), idempotency_key=key).replayed


@pytest.mark.django_db(transaction=True)
def test_one_order_that_the_database_refuses_leaves_nothing_of_the_others():
    good, bad = checked([body(), body()])
    assert isinstance(bad, NewOrder)
    bad = NewOrder(bad.customer_id, [replace(bad.lines[0], quantity=-1)])  # no checked order has that

    with pytest.raises(IntegrityError, match="is_positive"):
        batches.place_batch(orders=[good, bad], idempotency_key="key-1")

    assert_nothing_was_written()


@pytest.mark.django_db(transaction=True)
def test_it_refuses_to_be_part_of_another_transaction():
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        batches.place_batch(orders=checked(THREE))

    assert_nothing_was_written()


@pytest.mark.django_db
def test_it_counts_the_orders_and_logs_one_line_without_what_was_ordered(caplog):
    before = REGISTRY.get_sample_value("orders_accepted_total") or 0
    caplog.set_level(logging.INFO)

    batches.place_batch(orders=checked(GOOD_AND_BAD))

    assert REGISTRY.get_sample_value("orders_accepted_total") == before + 2
    (record,) = [record for record in caplog.records if record.name == "orders.batches"]
    assert (record.message, record.accepted, record.refused) == ("batch taken", 2, 1)
    assert "customer" not in str(vars(record))


@pytest.mark.django_db
def test_the_log_names_each_order_when_asked_to_debug(caplog):
    caplog.set_level(logging.DEBUG)

    batches.place_batch(orders=checked(THREE))

    named = {record.order_id for record in caplog.records if record.message == "order accepted"}
    assert named == {str(order.id) for order in Order.objects.all()}


# --- Back-pressure


@pytest.fixture
def stuck(transactional_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch with the key key-1 has been waiting for ten minutes: no relay gets it to the broker."""
    settings.MESSAGING = settings.MESSAGING | {"BACKPRESSURE": "refuse", "OUTBOX_MAX_AGE": 60}
    monkeypatch.setattr(backpressure, "_pressure", None)
    monkeypatch.setattr(backpressure, "_looked_at", -math.inf)
    assert post(key="key-1").status_code == 200
    OutboxMessage.objects.update(available_at=timezone.now() - timedelta(minutes=10))
    monkeypatch.setattr(backpressure, "_looked_at", -math.inf)


def test_a_new_batch_is_refused_as_a_whole_while_orders_cannot_be_passed_on(stuck: None) -> None:
    for key in ("key-2", None):
        answer = post(GOOD_AND_BAD, key=key)

        assert "no new ones are taken" in assert_problem(answer, 503)["detail"]
        assert int(answer.headers["Retry-After"]) > 0
    assert_placed_once(3)
    assert OrderBatch.objects.count() == 1


def test_a_known_key_gets_its_first_answer_all_the_same(stuck: None) -> None:
    answer = post(key="key-1")

    assert (answer.status_code, answer.headers["Idempotent-Replayed"]) == (200, "true")
    assert post([body()], key="key-1").status_code == 422
    assert_placed_once(3)


def test_a_key_that_only_another_user_has_sent_is_not_known(stuck: None, operator: Any) -> None:
    signed_in = APIClient()
    signed_in.force_authenticate(operator)

    answer = signed_in.post("/orders/batch", {"orders": THREE}, headers={"Idempotency-Key": "key-1"})

    assert "no new ones are taken" in assert_problem(answer, 503)["detail"]


def test_what_does_not_hold_hears_what_is_wrong_with_it_all_the_same(stuck: None) -> None:
    assert post([]).status_code == 422
    assert post([{}]).json()["refused"] == 1
