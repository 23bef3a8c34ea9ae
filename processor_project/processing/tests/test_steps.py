"""The rules that ship."""

import random
import time
from decimal import Decimal
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from contracts.events import OrderLine
from messaging.errors import TransientError
from processing import steps
from processing.pipeline import BusinessRuleViolation
from processing.tests.factories import make_order


def line(**fields: Any) -> OrderLine:
    sound: dict[str, Any] = {"product_id": "tea", "quantity": 2, "price": Decimal("23.00")}
    return OrderLine(**sound | fields)


def test_validate_lets_a_sound_order_pass() -> None:
    steps.validate(make_order(items=[line(), line(product_id="filter", quantity=1, price=Decimal("0.01"))]))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"customer_id": ""}, "The order names no customer."),
        ({"customer_id": "  "}, "The order names no customer."),
        ({"items": []}, "The order has no items."),
        ({"items": [line(), line(product_id=" ")]}, "Item 2 names no product."),
        ({"items": [line(quantity=0)]}, "Item 1 has a quantity of 0, which is not above zero."),
        ({"items": [line(quantity=-3)]}, "Item 1 has a quantity of -3, which is not above zero."),
        ({"items": [line(price=Decimal(0))]}, "Item 1 has a price of 0.00, which is not above zero."),
        ({"items": [line(price=Decimal("-0.01"))]}, "Item 1 has a price of -0.01, which is not above zero."),
        ({"total_amount": Decimal("45.99")}, "The total is 45.99, but the items add up to 46.00."),
        ({"total_amount": Decimal("46.01")}, "The total is 46.01, but the items add up to 46.00."),
    ],
)
def test_validate_says_what_makes_no_sense(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(BusinessRuleViolation) as caught:
        steps.validate(make_order(**fields))

    assert caught.value.reason == reason


def test_validate_adds_up_the_largest_order_exactly() -> None:
    items = [line(quantity=2**31 - 1, price=Decimal("9999999999.99")) for _ in range(1_000)]

    with pytest.raises(BusinessRuleViolation, match=r"the items add up to 21474836469978525163530\.00"):
        steps.validate(make_order(items=items, total_amount=Decimal("9999999999.99")))


def test_limit_total_takes_the_limit_itself_and_not_a_cent_more(settings: Settings) -> None:
    settings.PROCESSING_MAX_ORDER_TOTAL = Decimal("500.5")

    steps.limit_total(make_order(total_amount=Decimal("500.50")))
    with pytest.raises(BusinessRuleViolation) as caught:
        steps.limit_total(make_order(total_amount=Decimal("500.51")))

    assert caught.value.reason == "The total of 500.51 is above the limit of 500.50."


def test_the_limit_is_100000_unless_the_environment_says_otherwise() -> None:
    steps.limit_total(make_order(total_amount=Decimal(100_000)))
    with pytest.raises(BusinessRuleViolation, match=r"100000\.01 .* 100000\.00"):
        steps.limit_total(make_order(total_amount=Decimal("100000.01")))


def test_simulate_neither_sleeps_nor_fails_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(random, "random", lambda: 0.0)

    steps.simulate(make_order())

    assert slept == []


def test_simulate_sleeps_as_long_as_it_is_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SIMULATED_LATENCY_MS = 250
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)

    steps.simulate(make_order())

    assert slept == [0.25]


def test_simulate_fails_as_often_as_it_is_told_and_that_is_transient(settings: Settings) -> None:
    order = make_order()
    settings.SIMULATED_FAILURE_RATE = Decimal(1)
    for _ in range(100):
        with pytest.raises(TransientError, match=str(order.order_id)):
            steps.simulate(order)

    settings.SIMULATED_FAILURE_RATE = Decimal("0.5")
    random.seed(7)
    failures = 0
    for _ in range(1_000):
        try:
            steps.simulate(order)
        except TransientError:
            failures += 1
    assert 400 < failures < 600
