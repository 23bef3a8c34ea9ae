"""The events that the services exchange, as types.

The body of a message is the plain JSON of one of these. A field may be added at any time, since readers ignore
what they do not know; a change that breaks readers is a new `SCHEMA_VERSION`. The files under `contracts/` that
describe the events to others are generated from this module: run `python -m contracts` after a change.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from functools import cache
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self
from uuid import UUID

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import force_setattr

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Longest body that is written or read: what could not be read must not be sent."""
MAX_TEXT = 255
"""Longest id of a customer or product, in characters."""
MAX_ERROR_MESSAGE = 1000
"""Longest `error_message`, in characters."""
MONEY_DIGITS = 12
MONEY_PLACES = 2

_CENT = Decimal(1).scaleb(-MONEY_PLACES)
_MONEY_LIMIT = Decimal(10 ** (MONEY_DIGITS - MONEY_PLACES))
_MONEY_CONTEXT = Context(prec=MONEY_DIGITS + MONEY_PLACES, rounding=ROUND_HALF_EVEN)

# PostgreSQL keeps no NUL in a text. Each event searches its `Text`s for one itself: msgspec would call Python's regular
# expressions, which takes five times as long.
_WITHOUT_NUL = r"^[^\u0000]*$"

if TYPE_CHECKING:
    Money = Decimal
else:

    class Money(Decimal):
        """Marks money for msgspec, which would also take strings as decimals. The fields hold plain decimals."""


type Text = Annotated[str, Meta(max_length=MAX_TEXT, extra_json_schema={"pattern": _WITHOUT_NUL})]
type Reason = Annotated[str, Meta(max_length=MAX_ERROR_MESSAGE, pattern=_WITHOUT_NUL)]
type Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
type Timestamp = Annotated[datetime, Meta(extra_json_schema={"format": "date-time"})]


class InvalidEvent(ValueError):
    """The body is not the event it should be. The message is one sentence that names the field."""


class Event(Struct, frozen=True, kw_only=True):
    """What all events have."""

    TYPE: ClassVar[str]
    SCHEMA_VERSION: ClassVar[int] = 1

    def to_json(self) -> bytes:
        """The body of the message. Money is a JSON number with two places.

        Raises InvalidEvent when the body is longer than `MAX_BODY_BYTES`.
        """
        body = _ENCODER.encode(self)
        if len(body) > MAX_BODY_BYTES:
            raise InvalidEvent(f"{self.TYPE}: the body is longer than {MAX_BODY_BYTES} bytes")
        return body

    @classmethod
    def from_json(cls, body: bytes) -> Self:
        """The event that this body holds. Raises InvalidEvent, and nothing else, for a body that does not hold one."""
        if len(body) > MAX_BODY_BYTES:
            raise InvalidEvent(f"{cls.TYPE}: the body is longer than {MAX_BODY_BYTES} bytes")
        try:
            event: Self = _decoder(cls).decode(body)
        except UnicodeDecodeError as error:
            raise InvalidEvent(f"{cls.TYPE}: the body is not UTF-8") from error
        except RecursionError as error:
            raise InvalidEvent(f"{cls.TYPE}: the body is nested too deeply") from error
        except msgspec.DecodeError as error:
            raise InvalidEvent(f"{cls.TYPE}: {_shortened(str(error))}") from error
        return event


class OrderLine(Struct, frozen=True, kw_only=True):
    """One line of an order. A quantity or price of zero or less is for the processor to judge, not for the format."""

    product_id: Text
    quantity: Int32
    price: Money

    def __post_init__(self) -> None:
        if "\0" in self.product_id:
            raise InvalidEvent("product_id holds a NUL character")
        force_setattr(self, "price", _money("price", self.price))


class OrderCreated(Event, frozen=True, kw_only=True):
    """The order service has taken this order. Sent once the order is committed."""

    TYPE: ClassVar[str] = "order.created"

    order_id: UUID
    customer_id: Text
    items: list[OrderLine]
    total_amount: Money
    created_at: Timestamp
    """Without an offset it counts as UTC."""

    def __post_init__(self) -> None:
        if "\0" in self.customer_id:
            raise InvalidEvent("customer_id holds a NUL character")
        force_setattr(self, "total_amount", _money("total_amount", self.total_amount))
        force_setattr(self, "created_at", _utc("created_at", self.created_at))


class OrderProcessed(Event, frozen=True, kw_only=True):
    """The processor service has decided this order. `failed` means that a business rule refused it."""

    TYPE: ClassVar[str] = "order.processed"

    order_id: UUID
    status: Literal["completed", "failed"]
    error_message: Reason | None = None


EVENTS: Mapping[str, type[Event]] = {event.TYPE: event for event in (OrderCreated, OrderProcessed)}
"""Every event by its type, which is also its routing key."""


def _money(field: str, value: Decimal) -> Decimal:
    """The amount with exactly two places. Bounds come first: arithmetic on 1e3000000 would take minutes."""
    if not value.is_finite() or (value and value.adjusted() >= MONEY_DIGITS) or abs(value) >= _MONEY_LIMIT:
        raise InvalidEvent(f"{field} has more than {MONEY_DIGITS - MONEY_PLACES} digits before the point")
    if not value:
        return Decimal("0.00")
    amount = value.quantize(_CENT, None, _MONEY_CONTEXT)  # given by name, the arguments take twice as long as the rest
    if amount != value:
        raise InvalidEvent(f"{field} has more than {MONEY_PLACES} decimals")
    return amount


def _utc(field: str, value: datetime) -> datetime:
    try:
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    except OverflowError as error:
        raise InvalidEvent(f"{field} lies outside the years 1 to 9999") from error


def _decode_money(_: type, value: object) -> Money:
    if isinstance(value, Decimal) or type(value) is int:
        return Money(value)
    raise ValueError("Expected a number")


def _decode_float(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent beyond what a decimal can hold
        return Decimal("Infinity")


@cache
def _decoder[E: Event](event: type[E]) -> msgspec.json.Decoder[E]:
    return msgspec.json.Decoder(event, dec_hook=_decode_money, float_hook=_decode_float)


def _shortened(text: str) -> str:
    """Some of msgspec's sentences quote the value, however long; they end with the field."""
    return text if len(text) <= 200 else f"{text[:100]}…{text[-99:]}"


_ENCODER = msgspec.json.Encoder(decimal_format="number")
