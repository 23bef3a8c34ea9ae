"""POST /orders: what is taken, what is refused, and that a refusal writes nothing."""

import gc
import json
from typing import Any

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.test import RequestFactory
from rest_framework.test import APIClient

from messaging.models import OutboxMessage
from messaging.tests.round_trips import round_trips
from orders.models import Order, OrderItem
from orders.tests.factories import body, item, make_order


@pytest.fixture
def client() -> APIClient:
    return APIClient()


def post_raw(client: APIClient, raw: str | bytes, content_type: str = "application/json") -> Any:
    data: Any = raw if isinstance(raw, bytes) else raw.encode()
    return client.generic("POST", "/orders", data, content_type=content_type)


def assert_nothing_was_written() -> None:
    assert not Order.objects.exists()
    assert not OrderItem.objects.exists()
    assert not OutboxMessage.objects.exists()


def assert_problem(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.content
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "errors"}
    assert problem["status"] == status
    assert problem["detail"]
    return problem


@pytest.mark.django_db
def test_an_order_is_answered_201_with_the_order_as_it_was_placed(client):
    answer = client.post("/orders", body())

    assert answer.status_code == 201
    order = Order.objects.get()
    assert answer.headers["Location"] == f"/orders/{order.id}"
    assert answer.headers["Content-Type"] == "application/json"
    data = answer.json()
    assert data.pop("created_at") == data.pop("updated_at") == order.created_at.isoformat().replace("+00:00", "Z")
    assert data == {
        "id": str(order.id),
        "customer_id": "customer-1",
        "items": [
            {"product_id": "beans", "quantity": 2, "price": 18.5},
            {"product_id": "filters", "quantity": 1, "price": 9.0},
        ],
        "total_amount": 46.0,
        "status": "pending",
        "error_message": None,
    }
    assert b'"total_amount":46.0' in answer.content
    assert b'"price":9.0' in answer.content


@pytest.mark.django_db
def test_the_order_can_be_read_at_its_location(client):
    placed = client.post("/orders", body())

    assert client.get(placed.headers["Location"]).json() == placed.json()


@pytest.mark.django_db
def test_the_correlation_id_of_the_request_is_kept_with_the_order_and_its_event(client):
    answer = client.post("/orders", body(), HTTP_X_REQUEST_ID="request-7")

    assert answer.headers["X-Request-ID"] == "request-7"
    assert Order.objects.get().correlation_id == "request-7"
    assert OutboxMessage.objects.get().correlation_id == "request-7"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("price", "kept"), [(0.01, "0.01"), (46, "46.00"), (39.95, "39.95"), (9999999999.99, "9999999999.99")]
)
def test_money_is_kept_exactly(client, price, kept):
    answer = client.post("/orders", body(items=[item(price=price)]))

    assert answer.status_code == 201
    assert str(OrderItem.objects.get().price) == str(Order.objects.get().total_amount) == kept
    assert answer.json()["total_amount"] == price


@pytest.mark.django_db
def test_texts_of_any_script_are_kept_without_the_blanks_around_them(client):
    customer = "Zoë 顧客 🛒 \\ \" '; DROP TABLE orders_order; --"

    answer = client.post("/orders", body(customer_id=f"  {customer}\n"))

    assert answer.status_code == 201
    assert Order.objects.get().customer_id == answer.json()["customer_id"] == customer


@pytest.mark.django_db
def test_unknown_fields_are_ignored(client):
    answer = client.post("/orders", body(status="completed", total_amount=1, id="x", note={"a": [1]}))

    assert answer.status_code == 201
    assert Order.objects.get().status == "pending"
    assert Order.objects.get().total_amount == 46


@pytest.mark.usefixtures("no_look_for_backpressure")
@pytest.mark.django_db(transaction=True)
def test_an_anonymous_order_costs_no_statement_beside_the_order_itself(client):
    client.post("/orders", body())  # opens the connection

    with round_trips() as asked:
        assert client.post("/orders", body()).status_code == 201

    assert asked == ["run"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("method", "path", "sent", "status"),
    [
        ("POST", "/orders", body(), 201),
        ("POST", "/orders", body(items=[item(price="1")]), 422),
        ("POST", "/orders/batch", {"orders": [body()]}, 200),
        ("GET", "/orders/{}", None, 200),
        ("GET", "/orders/none", None, 404),
    ],
)
def test_a_request_leaves_nothing_to_the_garbage_collector(method, path, sent, status):
    application = WSGIHandler()
    path = path.format(make_order().id)

    def ask() -> int:
        # Not the test client, which makes reference cycles of its own. No cookies either, as from a program.
        environ = RequestFactory().generic(method, path, json.dumps(sent), "application/json").environ
        del environ["HTTP_COOKIE"]
        answer = application(environ, lambda *_: len)
        b"".join(answer)
        answer.close()
        return answer.status_code

    ask()  # the first one fills caches
    gc.collect()
    gc.disable()
    try:
        assert ask() == status
        assert gc.collect() == 0
    finally:
        gc.enable()


WRONG_VALUES = [
    ("no customer", {"items": [item()]}, "/customer_id"),
    ("customer null", body(customer_id=None), "/customer_id"),
    ("customer empty", body(customer_id=""), "/customer_id"),
    ("customer a number", body(customer_id=7), "/customer_id"),
    ("customer a boolean", body(customer_id=True), "/customer_id"),
    ("customer a list", body(customer_id=["c"]), "/customer_id"),
    ("customer an object", body(customer_id={}), "/customer_id"),
    ("customer too long", body(customer_id="c" * 256), "/customer_id"),
    ("customer with NUL", body(customer_id="c\0"), "/customer_id"),
    ("no items", {"customer_id": "c"}, "/items"),
    ("items null", body(items=None), "/items"),
    ("items empty", body(items=[]), "/items"),
    ("items an object", body(items={}), "/items"),
    ("items a text", body(items="beans"), "/items"),
    ("items a number", body(items=1), "/items"),
    ("item null", body(items=[None]), "/items/0"),
    ("item a text", body(items=["beans"]), "/items/0"),
    ("item a list", body(items=[[]]), "/items/0"),
    ("no product", body(items=[{"quantity": 1, "price": 1}]), "/items/0/product_id"),
    ("product empty", body(items=[item(product_id="")]), "/items/0/product_id"),
    ("product a number", body(items=[item(product_id=1)]), "/items/0/product_id"),
    ("product too long", body(items=[item(product_id="p" * 256)]), "/items/0/product_id"),
    ("product with NUL", body(items=[item(product_id="\0")]), "/items/0/product_id"),
    ("no quantity", body(items=[{"product_id": "p", "price": 1}]), "/items/0/quantity"),
    ("quantity null", body(items=[item(quantity=None)]), "/items/0/quantity"),
    ("quantity zero", body(items=[item(quantity=0)]), "/items/0/quantity"),
    ("quantity negative", body(items=[item(quantity=-1)]), "/items/0/quantity"),
    ("quantity a text", body(items=[item(quantity="1")]), "/items/0/quantity"),
    ("quantity a boolean", body(items=[item(quantity=True)]), "/items/0/quantity"),
    ("quantity a fraction", body(items=[item(quantity=1.5)]), "/items/0/quantity"),
    ("quantity past 2^31", body(items=[item(quantity=2**31)]), "/items/0/quantity"),
    ("quantity past 2^63", body(items=[item(quantity=2**63)]), "/items/0/quantity"),
    ("quantity of 900 digits", body(items=[item(quantity=10**900)]), "/items/0/quantity"),
    ("no price", body(items=[{"product_id": "p", "quantity": 1}]), "/items/0/price"),
    ("price null", body(items=[item(price=None)]), "/items/0/price"),
    ("price zero", body(items=[item(price=0)]), "/items/0/price"),
    ("price 0.00", body(items=[item(price=0.0)]), "/items/0/price"),
    ("price negative", body(items=[item(price=-0.01)]), "/items/0/price"),
    ("price a text", body(items=[item(price="1.00")]), "/items/0/price"),
    ("price an empty text", body(items=[item(price="")]), "/items/0/price"),
    ("price a boolean", body(items=[item(price=True)]), "/items/0/price"),
    ("price a list", body(items=[item(price=[1])]), "/items/0/price"),
    ("price with three decimals", body(items=[item(price=1.005)]), "/items/0/price"),
    ("price with thirteen digits", body(items=[item(price=10000000000)]), "/items/0/price"),
    ("price 1e300", body(items=[item(price=1e300)]), "/items/0/price"),
    ("a good and a bad item", body(items=[item(), item(price=0)]), "/items/1/price"),
    ("a list for the order", [body()], ""),
    ("a text for the order", "order", ""),
    ("a number for the order", 1, ""),
    ("null for the order", None, ""),
    ("an empty object", {}, "/customer_id"),
    ("only blanks", body(customer_id=" \t\n"), "/customer_id"),
]


@pytest.mark.django_db
@pytest.mark.parametrize(("data", "pointer"), [wrong[1:] for wrong in WRONG_VALUES], ids=[w[0] for w in WRONG_VALUES])
def test_a_body_that_parses_but_does_not_hold_is_refused_with_a_pointer(client, data, pointer):
    answer = post_raw(client, json.dumps(data))

    problem = assert_problem(answer, 422)
    assert pointer in [error["pointer"] for error in problem["errors"]], problem
    assert all(error["detail"] for error in problem["errors"])
    assert_nothing_was_written()


@pytest.mark.django_db
def test_no_body_at_all_lacks_what_an_order_needs(client):
    problem = assert_problem(post_raw(client, b""), 422)

    assert [error["pointer"] for error in problem["errors"]] == ["/customer_id", "/items"]
    assert_nothing_was_written()


@pytest.mark.django_db
def test_every_error_is_told_at_once(client):
    answer = client.post("/orders", {"customer_id": "", "items": [item(quantity=0), item(price=0)]})

    pointers = [error["pointer"] for error in answer.json()["errors"]]
    assert pointers == ["/customer_id", "/items/0/quantity", "/items/1/price"]


UNREADABLE = [
    ("no JSON", b"customer_id=1"),
    ("cut off", b'{"customer_id": "c", "items": ['),
    ("trailing garbage", b'{"customer_id": "c"} x'),
    ("NaN", b'{"customer_id": "c", "items": [{"product_id": "p", "quantity": 1, "price": NaN}]}'),
    ("Infinity", b'{"customer_id": "c", "items": [{"product_id": "p", "quantity": 1, "price": Infinity}]}'),
    ("-Infinity", b'{"customer_id": "c", "items": [{"product_id": "p", "quantity": 1, "price": -Infinity}]}'),
    ("1e400", b'{"customer_id": "c", "items": [{"product_id": "p", "quantity": 1, "price": 1e400}]}'),
    ("1e-400", b'{"customer_id": "c", "items": [{"product_id": "p", "quantity": 1, "price": 1e-400}]}'),
    ("1e3000000", b'{"customer_id": "c", "items": [{"product_id": "p", "quantity": 1, "price": 1e3000000}]}'),
    ("an absurd exponent", b'{"customer_id": "c", "items": [{"quantity": 1e99999999999999999999}]}'),
    ("5000 digits", b'{"customer_id": "c", "items": [{"quantity": ' + b"9" * 5000 + b"}]}"),
    ("duplicate keys", b'{"customer_id": "c", "customer_id": "d", "items": []}'),
    ("duplicate keys in an item", b'{"customer_id": "c", "items": [{"price": 1, "price": 2}]}'),
    ("deep lists", b"[" * 100_000),
    ("deep closed lists", b'{"items": ' + b"[" * 5000 + b"]" * 5000 + b"}"),
    ("deep objects", b'{"a":' * 20_000 + b"1" + b"}" * 20_000),
    ("no UTF-8", b'{"customer_id": "\xff\xfe"}'),
    ("UTF-16", json.dumps(body()).encode("utf-16")),
    ("Arabic digits", '{"customer_id": "c", "items": [{"quantity": ١}]}'.encode()),
    ("single quotes", b"{'customer_id': 'c'}"),
]


@pytest.mark.django_db
@pytest.mark.parametrize("raw", [case[1] for case in UNREADABLE], ids=[case[0] for case in UNREADABLE])
def test_a_body_that_does_not_parse_is_refused(client, raw):
    answer = post_raw(client, raw)

    assert_problem(answer, 400)
    assert_nothing_was_written()


@pytest.mark.django_db
@pytest.mark.parametrize("text", [r"\ud800", r"a\udfff", r"\u0000"])
@pytest.mark.parametrize("place", ["customer", "product"])
def test_half_characters_and_nul_written_as_escapes_are_refused(client, text, place):
    if place == "customer":
        raw = json.dumps(body(customer_id="HERE")).replace("HERE", text)
    else:
        raw = json.dumps(body(items=[item(product_id="HERE")])).replace("HERE", text)

    assert_problem(post_raw(client, raw), 422)
    assert_nothing_was_written()


@pytest.mark.django_db
def test_a_whole_surrogate_pair_is_one_character(client):
    answer = post_raw(client, json.dumps(body(customer_id="HERE")).replace("HERE", r"\ud83d\uded2"))

    assert answer.status_code == 201
    assert Order.objects.get().customer_id == "🛒"


@pytest.mark.django_db
def test_1000_items_are_taken_and_1001_are_not(client):
    assert client.post("/orders", body(items=[item()] * 1001)).status_code == 422
    assert_nothing_was_written()

    assert client.post("/orders", body(items=[item()] * 1000)).status_code == 201
    assert OrderItem.objects.count() == 1000


@pytest.mark.django_db
def test_the_refusal_of_too_many_items_names_the_limit(client):
    (error,) = client.post("/orders", body(items=[item()] * 1001)).json()["errors"]

    assert error == {"pointer": "/items", "detail": "An order has at most 1000 items (MAX_ITEMS_PER_ORDER)."}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "items",
    [
        [item(quantity=2, price=5_000_000_000)],
        [item(price=9_999_999_999.99), item(price=0.01)],
        [item(quantity=2**31 - 1, price=9_999_999_999.99)],
    ],
)
def test_a_total_past_twelve_digits_is_refused_and_the_refusal_says_so(client, items):
    problem = assert_problem(client.post("/orders", body(items=items)), 422)

    (error,) = problem["errors"]
    assert error["pointer"] == "/items"
    assert "total" in error["detail"]
    assert "12 digits" in error["detail"]
    assert_nothing_was_written()


@pytest.mark.django_db
def test_the_largest_total_is_taken(client):
    assert client.post("/orders", body(items=[item(price=9_999_999_999.98), item(price=0.01)])).status_code == 201


@pytest.mark.django_db
def test_a_body_over_the_limit_is_refused_with_413_that_names_it(client, settings):
    raw = json.dumps(body(customer_id="c")) + " " * settings.API_MAX_BODY_BYTES

    problem = assert_problem(post_raw(client, raw), 413)

    assert str(settings.API_MAX_BODY_BYTES) in problem["detail"]
    assert_nothing_was_written()


@pytest.mark.django_db
def test_a_body_at_the_limit_is_taken(client, settings):
    raw = json.dumps(body())

    assert post_raw(client, raw.ljust(settings.API_MAX_BODY_BYTES)).status_code == 201


@pytest.mark.django_db
@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b",
     "application/json; charset=utf-16", "application/json; charset=bz2_codec", ""],
)  # fmt: skip
def test_other_media_types_and_charsets_are_refused(client, content_type):
    assert_problem(post_raw(client, json.dumps(body()), content_type=content_type), 415)
    assert_nothing_was_written()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("put", "/orders", {"GET", "POST"}), ("delete", "/orders", {"GET", "POST"}),
     ("post", "/orders/019ac5f2-8d0b-7c3e-9a51-6f2b8e4d7a10", {"GET"}),
     ("patch", "/orders/019ac5f2-8d0b-7c3e-9a51-6f2b8e4d7a10", {"GET"}),
     ("delete", "/orders/019ac5f2-8d0b-7c3e-9a51-6f2b8e4d7a10", {"GET"})],
)  # fmt: skip
def test_other_methods_are_answered_405_with_those_that_are_allowed(client, method, path, allowed):
    answer = getattr(client, method)(path, {})

    assert_problem(answer, 405)
    assert allowed <= set(answer.headers["Allow"].split(", "))


@pytest.mark.django_db
def test_a_trailing_slash_leads_nowhere(client):
    assert_problem(client.post("/orders/", body()), 404)
    assert_nothing_was_written()


@pytest.mark.django_db
def test_wrong_items_are_explained_up_to_the_tenth_and_the_rest_is_not_looked_at(client):
    wrong: list[Any] = [{}] * 12

    problem = assert_problem(client.post("/orders", body(items=[item(), *wrong, item(quantity=0)])), 422)

    *explained, last = problem["errors"]
    assert {error["pointer"].split("/")[2] for error in explained} == {str(at) for at in range(1, 11)}
    assert last == {
        "pointer": "/items/11",
        "detail": "This item is wrong too; no more than 10 are explained, and those after it were not looked at.",
    }
    assert_nothing_was_written()
