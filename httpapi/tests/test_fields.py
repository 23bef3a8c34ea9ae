from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rest_framework import serializers

from httpapi.fields import MoneyField, StrictCharField, StrictIntegerField
from httpapi.parsers import parse_json
from httpapi.renderers import JSONRenderer


def refuses(field: serializers.Field[Any, Any, Any, Any], value: Any) -> str:
    with pytest.raises(serializers.ValidationError) as caught:
        field.run_validation(value)
    assert isinstance(caught.value.detail, list)
    return str(caught.value.detail[0])


@pytest.mark.parametrize("value", [0, 1, -5, 2**31 - 1, -(2**31)])
def test_an_integer_is_taken(value):
    assert StrictIntegerField().run_validation(value) == value


@pytest.mark.parametrize(
    ("text", "value"), [("7.0", 7), ("7e0", 7), ("1.5e1", 15), ("-0.0", 0), ("2147483647.0", 2**31 - 1)]
)
def test_an_integer_is_taken_for_its_value_however_it_is_written(text, value):
    taken = StrictIntegerField().run_validation(parse_json(text.encode()))
    assert type(taken) is int
    assert taken == value


@pytest.mark.parametrize("value", [True, False, "1", "", Decimal("1.5"), Decimal("1e-399"), 1.0, [1], {}, None])
def test_what_merely_looks_like_an_integer_is_not(value):
    assert refuses(StrictIntegerField(), value)


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 10**4000, Decimal("1e399")])
def test_an_integer_that_the_database_cannot_hold_is_refused(value):
    assert "2147483" in refuses(StrictIntegerField(), value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("46", "46.00"),
        ("46.0", "46.00"),
        ("46.00000000000000000000000000000000000000000000000000", "46.00"),
        ("39.95", "39.95"),
        ("0.01", "0.01"),
        ("1e2", "100.00"),
        ("1.5e1", "15.00"),
        ("9999999999.99", "9999999999.99"),
    ],
)
def test_money_is_taken_for_its_value_however_it_is_written(text, value):
    money = MoneyField(positive=True).run_validation(parse_json(text.encode()))
    assert type(money) is Decimal
    assert str(money) == value


@pytest.mark.parametrize("text", ["0.001", "39.955", "1e-3", "0.0100000000000000000000000000000000000000001"])
def test_money_with_more_decimals_is_refused(text):
    assert "2 decimal places" in refuses(MoneyField(), parse_json(text.encode()))


@pytest.mark.parametrize("text", ["10000000000", "1e10", "-1e10", "9" * 4000, "1e399", "9999999999.999e1"])
def test_money_with_more_digits_is_refused(text):
    assert "10 digits before the decimal point" in refuses(MoneyField(), parse_json(text.encode()))


@pytest.mark.parametrize("value", ["46", "", "NaN", True, 46.0, Decimal("NaN"), Decimal("Infinity"), [], {}, None])
def test_what_is_no_json_number_is_no_money(value):
    assert refuses(MoneyField(), value)


@pytest.mark.parametrize("text", ["0", "0.00", "-0", "-0.0", "-1", "-1e399"])
def test_money_that_must_be_positive_is_not_zero_or_less(text):
    assert refuses(MoneyField(positive=True), parse_json(text.encode())) == "Ensure this value is greater than 0."


def test_money_may_be_zero_or_less_when_nobody_forbids_it():
    assert MoneyField().run_validation(0) == 0
    assert MoneyField().run_validation(parse_json(b"-1.50")) == Decimal("-1.50")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("46.00"), b"46.0"),
        (Decimal("39.95"), b"39.95"),
        (Decimal("9999999999.99"), b"9999999999.99"),
        (Decimal("0.10"), b"0.1"),
    ],
)
def test_money_goes_out_as_a_number_and_comes_back_the_same(value, text):
    rendered = JSONRenderer().render(MoneyField().to_representation(value))
    assert rendered == text
    assert MoneyField().run_validation(parse_json(rendered)) == value


def test_a_string_is_taken():
    assert StrictCharField().run_validation("é") == "é"


@pytest.mark.parametrize("value", [1, True, Decimal("1.5"), [], {}, ["a"], None])
def test_what_is_no_string_is_not_made_one(value):
    assert refuses(StrictCharField(), value)


@pytest.mark.parametrize("value", ["", " ", "a" * 256, "a\0b", "\ud800"])
def test_a_string_must_hold_something_that_fits_the_column(value):
    assert refuses(StrictCharField(), value)


def test_null_is_taken_where_it_is_allowed():
    assert StrictCharField(allow_null=True).run_validation(None) is None
    assert MoneyField(allow_null=True).run_validation(None) is None
    assert refuses(MoneyField(allow_null=True), "")


@given(st.one_of(st.text(max_size=12), st.from_regex(r"[ -~\t]{0,12}", fullmatch=True)))
def test_a_text_is_taken_or_refused_as_rest_framework_does(text):
    def outcome(field: serializers.CharField) -> Any:
        try:
            return field.run_validation(text)
        except serializers.ValidationError as error:
            return error.detail

    assert outcome(StrictCharField(max_length=8)) == outcome(serializers.CharField(max_length=8))


def test_a_field_with_rules_of_its_own_applies_them_to_plain_values_too():
    def never(value: Any) -> None:
        raise serializers.ValidationError("never")

    assert refuses(StrictCharField(validators=[never]), "plain") == "never"
    assert refuses(StrictCharField(min_length=9), "plain")
    assert refuses(StrictIntegerField(validators=[never]), 7) == "never"
