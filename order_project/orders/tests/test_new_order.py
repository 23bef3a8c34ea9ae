"""The fast reader reads an order just as the serializer does."""

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from contracts.events import OrderLine
from httpapi.parsers import parse_json
from httpapi.problems import Problem
from orders.models import OrderItem
from orders.new_order import NewOrder, read_plain, read_plain_batch
from orders.serializers import NewOrderSerializer
from orders.tests.factories import LINES, body, item
from orders.tests.test_post import UNREADABLE, WRONG_VALUES


def as_the_serializer_reads(raw: bytes) -> NewOrder | None:
    """The order in the body; None if the serializer refuses it."""
    try:
        serializer = NewOrderSerializer(data=parse_json(raw))
    except Problem:
        return None
    if not serializer.is_valid():
        return None
    valid = serializer.validated_data
    return NewOrder(valid["customer_id"], [OrderLine(**line) for line in valid["items"]])


def agrees(raw: bytes) -> bool:
    """Whether the fast reader declines, or reads the same order as the serializer."""
    plain = read_plain(raw)
    return plain is None or repr(plain) == repr(as_the_serializer_reads(raw))


texts = st.one_of(
    st.sampled_from(
        ["beans", "price", "customer_id", "", " ", " a", "a ", "a\x7f", "a\nb", "é", '"', "x" * 255, "x" * 256]
    ),
    st.text(max_size=8),
)
numbers = st.one_of(
    st.integers(-1, 3),
    st.integers(),
    st.floats(),
    st.decimals(0, 10**11, places=2).map(float),
    st.sampled_from([2**31 - 1, 2**31, 0.01, 0.001, 0.0, 9999999999.99, 1e10, 1e2, 1.10, True]),
)
anything = st.one_of(texts, numbers, st.none(), st.lists(numbers, max_size=2))
items = st.fixed_dictionaries(
    {"product_id": texts, "quantity": numbers, "price": numbers}, optional={"note": anything, "items": anything}
)
orders = st.fixed_dictionaries(
    {"customer_id": texts, "items": st.lists(items, max_size=3)}, optional={"status": texts, "price": anything}
)


@pytest.mark.parametrize("indent", [None, 2])
def test_an_order_as_most_clients_send_it_is_read_in_one_go(indent):
    raw = json.dumps(body(), indent=indent).encode()

    assert read_plain(raw) == as_the_serializer_reads(raw) == NewOrder("customer-1", LINES)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=utf-8", "application/json; profile=x", "APPLICATION/JSON"]
)
@pytest.mark.parametrize("price", ["18.5", "18.50", "1850e-2", "18.500"])
def test_however_it_is_written_the_same_is_kept(kind, price):
    raw = f'{{"customer_id": "c", "items": [{{"product_id": "p", "quantity": 2, "price": {price}}}]}}'

    answer = APIClient().generic("POST", "/orders", raw, content_type=kind)

    assert answer.status_code == 201
    kept = OrderItem.objects.get()
    assert (kept.product_id, kept.quantity, kept.price) == ("p", 2, Decimal("18.50"))


@settings(max_examples=1500, deadline=None, derandomize=True)
@given(orders, st.booleans())
def test_whatever_is_sent_both_ways_agree(order, escaped):
    assert agrees(json.dumps(order, ensure_ascii=escaped).encode(errors="surrogatepass"))


@settings(max_examples=1500, deadline=None, derandomize=True)
@given(st.randoms(use_true_random=False), st.integers(1, 4))
def test_they_agree_on_bodies_that_are_a_few_bytes_off(source, changes):
    raw = bytearray(json.dumps(body(), indent=source.choice([None, 1])).encode())
    for _ in range(changes):
        at = source.randrange(len(raw))
        match source.randrange(3):
            case 0:
                del raw[at]
            case 1:
                raw[at] = source.choice(b'",:{}[]0123456789.eE-+ \\\n\x00\x7f\xffaN')
            case _:
                start, end = sorted((source.randrange(len(raw)), source.randrange(len(raw))))
                raw[at:at] = raw[start : min(end, start + 30)]
    assert agrees(bytes(raw))


@pytest.mark.parametrize(
    "raw",
    [
        '{"customer_id": "a", "customer_id": "b", "items": [%s]}',
        '{"customer_id": "a", "custome\\u0072_id": "b", "items": [%s]}',
        '{"customer_id": "a", "items": [], "items": [%s]}',
        '{"customer_id": "a", "items": [{"price": 2, "product_id": "p", "quantity": 1, "price": 1}]}',
    ],
)
def test_a_key_that_is_there_twice_is_never_overlooked(raw):
    raw = raw.replace("%s", json.dumps(item()))

    assert read_plain(raw.encode()) is None
    assert as_the_serializer_reads(raw.encode()) is None


def test_a_price_that_is_nested_too_deeply_is_left_to_the_serializer():
    raw = json.dumps(body(items=[item(price="deep")])).replace('"deep"', "[" * 100_000 + "]" * 100_000)

    assert read_plain(raw.encode()) is None


def test_a_batch_of_plain_orders_is_read_in_one_go():
    raw = json.dumps({"orders": [body(), body(customer_id="other")]}).encode()

    assert read_plain_batch(raw) == [NewOrder("customer-1", LINES), NewOrder("other", LINES)]


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.lists(orders, max_size=4))
def test_a_batch_is_read_as_its_orders_are_or_left_to_the_serializers(sent):
    raw = json.dumps({"orders": sent}).encode(errors="surrogatepass")
    plain = read_plain_batch(raw)

    assert plain is None or plain == [as_the_serializer_reads(json.dumps(one).encode()) for one in sent]


@pytest.mark.parametrize(
    "raw",
    [
        '{"orders": []}',
        '{"orders": [%s], "orders": [%s]}',
        '{"orders": [], "orders": [%s]}',
        '{"orders": [%s], "note": 1}',
        '{"orders": [{"customer_id": "a", "customer_id": "b", "items": [%s]}]}'.replace("%s", json.dumps(item())),
        '{"orders": [%s, {"customer_id": "a", "items": []}]}',
        '{"orders": [%s, 1]}',
        "[%s]",
    ],
)
def test_a_batch_with_anything_special_is_left_to_the_serializers(raw):
    assert read_plain_batch(raw.replace("%s", json.dumps(body())).encode()) is None


def test_a_batch_of_too_many_is_left_to_the_serializers():
    assert read_plain_batch(json.dumps({"orders": [body()] * 1001}).encode()) is None


@pytest.mark.parametrize("wrong", [wrong for _, wrong, _ in WRONG_VALUES], ids=[name for name, _, _ in WRONG_VALUES])
def test_what_is_wrong_is_left_to_the_serializer(wrong):
    assert read_plain(json.dumps(wrong).encode()) is None


@pytest.mark.parametrize("raw", [raw for _, raw in UNREADABLE], ids=[name for name, _ in UNREADABLE])
def test_what_cannot_be_read_is_left_to_the_parser(raw):
    assert read_plain(raw) is None
