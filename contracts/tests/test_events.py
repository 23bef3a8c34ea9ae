"""What a body must be to be an event."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from contracts.events import MAX_BODY_BYTES, Event, InvalidEvent, OrderCreated, OrderLine, OrderProcessed
from contracts.examples import EXAMPLES, ORDER_COMPLETED, ORDER_CREATED, ORDER_FAILED


def order_created(**raw: str) -> bytes:
    """The example with one line and the JSON text of some fields replaced, be they the order's or the line's."""
    line = {"product_id": '"tea"', "quantity": "2", "price": "23.00"}
    line |= {name: raw.pop(name) for name in line if name in raw}
    fields = {name: json.dumps(value) for name, value in json.loads(ORDER_CREATED.to_json()).items()}
    fields["items"] = f"[{_object(line)}]"
    return _object(fields | raw).encode("utf-8", "surrogatepass")


def _object(fields: dict[str, str]) -> str:
    return "{" + ", ".join(f'"{name}": {value}' for name, value in fields.items()) + "}"


def refusal(body: bytes, event: type[Event] = OrderCreated) -> str:
    with pytest.raises(InvalidEvent) as caught:
        event.from_json(body)
    return str(caught.value)


@pytest.mark.parametrize(
    "event", [ORDER_CREATED, ORDER_COMPLETED, ORDER_FAILED], ids=["created", "completed", "failed"]
)
def test_an_event_comes_back_as_it_was_sent(event: Event) -> None:
    assert type(event).from_json(event.to_json()) == event


def test_every_event_has_examples() -> None:
    assert EXAMPLES.keys() == {OrderCreated.TYPE, OrderProcessed.TYPE}
    assert all(EXAMPLES.values())


def test_money_is_sent_as_a_number_with_two_places() -> None:
    event = OrderCreated(
        order_id=ORDER_CREATED.order_id,
        customer_id="c",
        items=[OrderLine(product_id="p", quantity=1, price=Decimal("1E+2"))],
        total_amount=Decimal("39.9"),
        created_at=ORDER_CREATED.created_at,
    )

    body = event.to_json()

    assert b'"price":100.00}' in body
    assert b'"total_amount":39.90,' in body


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("46", "46.00"),
        ("46.0", "46.00"),
        ("46.00", "46.00"),
        ("46.000000", "46.00"),
        ("4.6e1", "46.00"),
        ("0.1", "0.10"),
        ("9999999999.99", "9999999999.99"),
        ("0", "0.00"),
        ("-0.0", "0.00"),
        ("-5.25", "-5.25"),
        ("0e3000000", "0.00"),
        ("1." + "0" * 100_000, "1.00"),
    ],
)
def test_it_takes_money_by_its_value_however_it_is_written(text: str, amount: str) -> None:
    event = OrderCreated.from_json(order_created(price=text))

    assert str(event.items[0].price) == amount


@pytest.mark.parametrize(
    "text",
    [
        '"46.00"',
        "true",
        "null",
        "[]",
        "{}",
        "NaN",
        "Infinity",
        "-Infinity",
        "1.005",
        "1e-3",
        "10000000000",
        "9999999999.995",
        "-10000000000",
        "1e12",
        "1e400",
        "1e3000000",
        "-1e3000000",
        "1e-3000000",
        "1e99999999999999999999",
        "1e-99999999999999999999",
        "9" * 5_000,
        "1." + "9" * 100_000,
    ],
    ids=lambda text: text[:24],
)
@pytest.mark.parametrize("field", ["price", "total_amount"])
def test_it_refuses_what_is_no_amount_of_money(field: str, text: str) -> None:
    sentence = refusal(order_created(**{field: text}))

    assert field in sentence or "malformed" in sentence
    assert len(sentence) < 300


def test_it_says_what_is_wrong_with_money() -> None:
    assert "price has more than 2 decimals" in refusal(order_created(price="1.005"))
    assert "total_amount has more than 10 digits before the point" in refusal(order_created(total_amount="1e3000000"))
    assert "Expected a number" in refusal(order_created(price='"1.00"'))


@pytest.mark.parametrize("text", ["1.0", "1.5", '"1"', "true", "null", "2147483648", "-2147483649", "9" * 5_000, "1e2"])
def test_it_refuses_a_quantity_that_is_no_32_bit_integer(text: str) -> None:
    assert "quantity" in refusal(order_created(quantity=text))


@pytest.mark.parametrize("quantity", [0, -1, -(2**31), 2**31 - 1])
def test_it_leaves_it_to_the_processor_to_judge_a_quantity(quantity: int) -> None:
    assert OrderCreated.from_json(order_created(quantity=str(quantity))).items[0].quantity == quantity


def test_it_leaves_it_to_the_processor_to_judge_an_order_without_items() -> None:
    assert OrderCreated.from_json(order_created(items="[]")).items == []


@pytest.mark.parametrize("text", ["1", "null", "[]", r'"a\u0000b"', r'"\u0000"', '"' + "a" * 256 + '"'])
@pytest.mark.parametrize("field", ["customer_id", "product_id"])
def test_it_refuses_a_text_that_could_not_be_stored(field: str, text: str) -> None:
    assert field in refusal(order_created(**{field: text}))


@pytest.mark.parametrize("text", [r'"\ud800"', r'"\udc00\ud800"', '"\ud800"', r'"\x"', '"\n"', '"'])
def test_it_refuses_a_text_that_is_none(text: str) -> None:
    refusal(order_created(customer_id=text))


def test_it_takes_a_text_of_any_language_up_to_its_length() -> None:
    name = "Žofie 😀" * 36

    assert OrderCreated.from_json(order_created(customer_id=json.dumps(name))).customer_id == name


@pytest.mark.parametrize(
    "text", ["1", "null", '""', '"yesterday"', '"2026-02-30T00:00:00Z"', '"2026-11-22"', '"0001-01-01T00:00:00+23:59"']
)
def test_it_refuses_what_is_no_time(text: str) -> None:
    assert "created_at" in refusal(order_created(created_at=text))


@pytest.mark.parametrize("text", ["2026-11-22T10:30:00+01:00", "2026-11-22T09:30:00Z", "2026-11-22T09:30:00"])
def test_it_reads_every_time_as_utc(text: str) -> None:
    event = OrderCreated.from_json(order_created(created_at=f'"{text}"'))

    assert event.created_at == datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize("text", ["1", "null", '""', '"order-1"', '"019ab3c4"'])
def test_it_refuses_an_order_id_that_is_no_uuid(text: str) -> None:
    assert "order_id" in refusal(order_created(order_id=text))


@pytest.mark.parametrize("field", ["order_id", "customer_id", "items", "total_amount", "created_at"])
def test_it_names_the_field_that_is_missing(field: str) -> None:
    body = json.loads(ORDER_CREATED.to_json())
    del body[field]

    assert f"`{field}`" in refusal(json.dumps(body).encode())


@pytest.mark.parametrize("text", ["{}", "null", '"tea"', "[[]]", "[null]", "[{}]", '{"0": {}}'])
def test_it_refuses_items_that_are_none(text: str) -> None:
    refusal(order_created(items=text))


def test_it_ignores_fields_that_it_does_not_know() -> None:
    extra: dict[str, Any] = {"currency": "EUR", "nested": {"list": [1, 2.5, None, {"deep": "\0"}]}}
    body = json.dumps(json.loads(ORDER_CREATED.to_json()) | extra).encode()

    assert OrderCreated.from_json(body) == ORDER_CREATED


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b"{}",
        b"0",
        b'"order"',
        b"not json",
        b"{'order_id': 1}",
        b'{"order_id": ',
        b"\xff\xfe\x00",
        b"\xef\xbb\xbf{}",
        b"\x00" * 1_000,
        b"<order/>",
        ORDER_CREATED.to_json() + b"x",
        ORDER_CREATED.to_json().decode().encode("utf-16"),
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b"9" * 1_000_000,
    ],
    ids=lambda body: repr(body[:16]),
)
@pytest.mark.parametrize("event", [OrderCreated, OrderProcessed])
def test_it_refuses_a_body_that_is_no_event(event: type[Event], body: bytes) -> None:
    assert refusal(body, event).startswith(f"{event.TYPE}: ")


def test_it_refuses_deep_nesting_in_a_field_that_it_does_not_know() -> None:
    assert "nested too deeply" in refusal(order_created(extra="[" * 200_000 + "]" * 200_000))


def test_it_neither_reads_nor_writes_a_body_that_is_too_long() -> None:
    assert "longer than" in refusal(b" " * (MAX_BODY_BYTES + 1))

    line = OrderLine(product_id="p" * 255, quantity=1, price=Decimal(1))
    event = OrderCreated(
        order_id=ORDER_CREATED.order_id,
        customer_id="c",
        items=[line] * (MAX_BODY_BYTES // 255),
        total_amount=Decimal(1),
        created_at=ORDER_CREATED.created_at,
    )
    with pytest.raises(InvalidEvent, match="longer than"):
        event.to_json()


def test_nobody_can_make_an_event_with_an_amount_that_nobody_could_read() -> None:
    with pytest.raises(InvalidEvent, match="price has more than 2 decimals"):
        OrderLine(product_id="p", quantity=1, price=Decimal("0.001"))
    with pytest.raises(InvalidEvent, match="price has more than 10 digits"):
        OrderLine(product_id="p", quantity=1, price=Decimal("NaN"))


@pytest.mark.parametrize("status", ["pending", "COMPLETED", "", None, 1, "x" * 1_000_000])
def test_it_refuses_an_unknown_status_and_does_not_repeat_it_at_length(status: object) -> None:
    body = json.dumps({"order_id": str(ORDER_CREATED.order_id), "status": status}).encode()

    sentence = refusal(body, OrderProcessed)

    assert "status" in sentence
    assert len(sentence) < 300


def test_it_takes_a_decision_without_an_error_message() -> None:
    body = json.dumps({"order_id": str(ORDER_CREATED.order_id), "status": "completed"}).encode()

    assert OrderProcessed.from_json(body).error_message is None


@pytest.mark.parametrize("text", ["", "x" * 1_000])
def test_it_takes_an_error_message_up_to_its_length(text: str) -> None:
    event = OrderProcessed(order_id=ORDER_CREATED.order_id, status="failed", error_message=text)

    assert OrderProcessed.from_json(event.to_json()).error_message == text


@pytest.mark.parametrize("text", ["x" * 1_001, "\0", 1, []])
def test_it_refuses_an_error_message_that_could_not_be_stored(text: object) -> None:
    body = json.dumps({"order_id": str(ORDER_CREATED.order_id), "status": "failed", "error_message": text}).encode()

    assert "error_message" in refusal(body, OrderProcessed)
