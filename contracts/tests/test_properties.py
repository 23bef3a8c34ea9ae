"""What holds for every body and every event, tried with many."""

import json
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from contracts.documents import json_schema
from contracts.events import Event, InvalidEvent, OrderCreated, OrderProcessed
from contracts.examples import ORDER_COMPLETED, ORDER_CREATED
from contracts.tests.strategies import events

# No deadlines: how long a single example takes says more about the machine than about the code.
without_deadline = settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])

VALIDATORS: dict[type[Event], Any] = {
    event: Draft202012Validator(json_schema(event)) for event in (OrderCreated, OrderProcessed)
}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([10**400, -1, 0, 1e308, "NaN", "2026-11-22T09:30:00Z"]),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=5,
)


def read(event: type[Event], body: bytes) -> Event | None:
    """The event, or None when it is refused as it should be. Every other end is a failure."""
    try:
        return event.from_json(body)
    except InvalidEvent as error:
        sentence = str(error)
    assert sentence.startswith(f"{event.TYPE}: ")
    assert len(sentence) < 300
    return None


@without_deadline
@given(events)
def test_an_event_comes_back_as_it_was_sent(event: Event) -> None:
    assert type(event).from_json(event.to_json()) == event


@without_deadline
@given(events)
def test_an_event_holds_by_its_json_schema(event: Event) -> None:
    VALIDATORS[type(event)].validate(json.loads(event.to_json()))


@without_deadline
@given(st.binary(max_size=2_000))
@example(ORDER_CREATED.to_json())
@example(ORDER_COMPLETED.to_json())
def test_any_bytes_are_an_event_or_refused(body: bytes) -> None:
    read(OrderCreated, body)
    read(OrderProcessed, body)


@without_deadline
@given(st.data(), st.sampled_from([ORDER_CREATED, ORDER_COMPLETED]))
def test_a_body_with_some_bytes_changed_is_an_event_or_refused(data: st.DataObject, event: Event) -> None:
    body = bytearray(event.to_json())
    for position in data.draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=4)):
        body[position] = data.draw(st.integers(0, 255))

    read(type(event), bytes(body))


@without_deadline
@given(st.data(), st.sampled_from([ORDER_CREATED, ORDER_COMPLETED]))
def test_what_is_taken_can_be_sent_on_unchanged(data: st.DataObject, event: Event) -> None:
    body: dict[str, Any] = json.loads(event.to_json())
    for holder in data.draw(st.lists(st.sampled_from([body, *body.get("items", [])]), min_size=1, max_size=3)):
        holder[data.draw(st.sampled_from(sorted(holder)))] = data.draw(json_values)

    taken = read(type(event), json.dumps(body).encode())

    if taken is not None:
        assert type(event).from_json(taken.to_json()) == taken
        VALIDATORS[type(event)].validate(json.loads(taken.to_json()))


@without_deadline
@given(st.from_regex(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,6})?([eE][+-]?[0-9]{1,4})?", fullmatch=True))
def test_money_is_taken_exactly_or_refused(text: str) -> None:
    body = ORDER_CREATED.to_json().replace(b'"total_amount":46.00', f'"total_amount":{text}'.encode())

    taken = read(OrderCreated, body)

    if isinstance(taken, OrderCreated):
        assert taken.total_amount == Decimal(text)
        assert taken.total_amount.as_tuple().exponent == -2
        assert abs(taken.total_amount) < 10**10
    else:
        assert abs(Decimal(text)) >= 10**10 or Decimal(text) % Decimal("0.01") != 0
