"""Serializer fields that take just the type they name, and nothing that merely looks like it."""

from decimal import Decimal
from typing import Any

from rest_framework import serializers
from rest_framework.fields import empty

MAX_INTEGER = 2**31 - 1
"""The largest value of an integer column in PostgreSQL."""


class StrictIntegerField(serializers.IntegerField):
    """A JSON integer, not a string or a boolean. At most 2147483647 unless told otherwise.

    What counts is the value, as in JSON Schema: 1, 1.0 and 1e0 are the same.
    """

    default_error_messages = {"invalid": "A JSON integer is required."}

    def __init__(self, *, max_value: int = MAX_INTEGER, min_value: int = -MAX_INTEGER - 1, **kwargs: Any) -> None:
        super().__init__(max_value=max_value, min_value=min_value, **kwargs)
        self._range = min_value, max_value
        self._own_rules_only = "validators" not in kwargs

    def run_validation(self, data: Any = empty) -> Any:
        if type(data) is int and self._range[0] <= data <= self._range[1] and self._own_rules_only:
            return data
        return super().run_validation(data)

    def to_internal_value(self, data: Any) -> int:
        if type(data) is Decimal and data.is_finite() and data == data.to_integral_value():
            return int(data)
        if type(data) is not int:  # bool is a subclass of int
            self.fail("invalid")
        return data


class MoneyField(serializers.DecimalField):
    """An amount: a JSON number in, Decimal inside, a JSON number out (`46.0`). Two decimals, twelve digits by default.

    What counts is the value, not how it is written: 46, 46.0 and 46.000 are the same. With `positive`, 0 is refused.
    """

    default_error_messages = {
        "invalid": "A JSON number is required.",
        "positive": "Ensure this value is greater than 0.",
    }

    def __init__(self, *, max_digits: int = 12, decimal_places: int = 2, positive: bool = False, **kwargs: Any) -> None:
        self.positive = positive
        self.limit = 10 ** (max_digits - decimal_places)
        self.unit = Decimal(10) ** -decimal_places
        super().__init__(max_digits=max_digits, decimal_places=decimal_places, **kwargs)

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        # Not DecimalField's own method, which takes "" for null.
        return serializers.Field.validate_empty_values(self, data)

    def to_internal_value(self, data: Any) -> Decimal:
        if type(data) is int:
            value = Decimal(data)
        elif type(data) is Decimal and data.is_finite():
            value = data
        else:
            self.fail("invalid")
        if self.positive and value <= 0:
            self.fail("positive")
        # The order matters: a number of any length is compared exactly, but only a short one can be quantized.
        if not -self.limit < value < self.limit:
            self.fail("max_whole_digits", max_whole_digits=self.max_whole_digits)
        rounded = value.quantize(self.unit)
        if rounded != value:
            self.fail("max_decimal_places", max_decimal_places=self.decimal_places)
        return rounded

    def to_representation(self, value: Any) -> float:  # type: ignore[override]  # the stubs know only strings
        # Twelve digits pass through a float unharmed.
        return float(value)


class StrictCharField(serializers.CharField):
    """A JSON string: numbers and booleans are not turned into one. At most 255 characters unless told otherwise."""

    default_error_messages = {"invalid": "A JSON string is required."}

    def __init__(self, *, max_length: int = 255, **kwargs: Any) -> None:
        super().__init__(max_length=max_length, **kwargs)
        self._most = max_length
        self._own_rules_only = not kwargs.keys() & {"min_length", "validators", "trim_whitespace"}

    def run_validation(self, data: Any = empty) -> Any:
        # Most texts are plain. REST framework would take five times as long to find nothing wrong with them.
        if (
            type(data) is str
            and 0 < len(data) <= self._most
            and data.isascii()
            and data.isprintable()
            and data[0] != " " != data[-1]
            and self._own_rules_only
        ):
            return data
        if data is not empty and data is not None and type(data) is not str:
            self.fail("invalid")
        return super().run_validation(data)
