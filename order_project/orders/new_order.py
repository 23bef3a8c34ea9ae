"""An order that a client wants to place: what it is once it has been read, and the fast way to read it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from django.conf import settings
from msgspec import Meta, Raw, Struct

from contracts.events import MAX_TEXT, MONEY_DIGITS, MONEY_PLACES, OrderLine
from httpapi.fields import MAX_INTEGER

MAX_ORDERS_PER_BATCH = 1000
# max(): a system check refuses what is below zero, but runs later than this.
MAX_ITEMS_PER_ORDER: int = max(0, settings.MAX_ITEMS_PER_ORDER)
TOTAL_LIMIT = Decimal(10) ** (MONEY_DIGITS - MONEY_PLACES)
"""The total of an order must be below this."""

type Errors = list[dict[str, str]]
"""What is wrong with an order: `{pointer, detail}` each, as in the errors of `POST /orders`."""


class NewOrder(Struct, frozen=True):
    """A valid order."""

    customer_id: str
    lines: list[OrderLine]

    @property
    def total_amount(self) -> Decimal:
        return sum((line.quantity * line.price for line in self.lines), Decimal(0))


@dataclass(frozen=True, slots=True)
class Refused:
    """An order that is not valid."""

    errors: Errors
    sent: Any
    """Tells it apart from other orders under the same Idempotency-Key."""


# What follows is for speed alone: a valid order with nothing special about it is read and checked in one go, in a tenth
# of the time. All others are left to `serializers.check`, which alone says what is wrong. So this may refuse to read
# any order, but must never accept one that the serializer refuses, nor read it in another way.

type _Text = Annotated[str, Meta(max_length=MAX_TEXT, pattern=r"^[!-~]([ -~]*[!-~])?$")]


class _Item(Struct, forbid_unknown_fields=True):
    product_id: _Text
    quantity: Annotated[int, Meta(ge=1, le=MAX_INTEGER)]
    price: Raw


class _Order(Struct, forbid_unknown_fields=True):
    customer_id: _Text
    items: Annotated[list[_Item], Meta(min_length=1, max_length=MAX_ITEMS_PER_ORDER)]


class _Batch(Struct, forbid_unknown_fields=True):
    orders: Annotated[list[_Order], Meta(min_length=1, max_length=MAX_ORDERS_PER_BATCH)]


_ORDER = msgspec.json.Decoder(_Order)
_BATCH = msgspec.json.Decoder(_Batch)
_PRICE = re.compile(rb"[0-9]{1,%d}(\.[0-9]{1,%d})?" % (MONEY_DIGITS - MONEY_PLACES, MONEY_PLACES))
# Each key must be there once for each order or item. Without escapes a key can be written in one way only, so a higher
# count means a duplicate key, or a text that looks like one. If `orders` is there twice, more keys than decoded orders
# are counted.
_ORDER_KEYS = (b'"customer_id"', b'"items"')
_ITEM_KEYS = (b'"product_id"', b'"quantity"', b'"price"')


def read_plain(body: bytes) -> NewOrder | None:
    """The order, as the serializer would read it; None if the serializer has to be asked."""
    order = _decoded(_ORDER, body)
    if order is None or not _is_each_there_once(body, [order]):
        return None
    return _new_order(order)


def read_plain_batch(body: bytes) -> list[NewOrder] | None:
    """The orders of a batch, as the serializers would read them; None if these have to be asked about any order."""
    batch = _decoded(_BATCH, body)
    if batch is None or not _is_each_there_once(body, batch.orders):
        return None
    orders: list[NewOrder] = []
    for plain in batch.orders:
        order = _new_order(plain)
        if order is None:
            return None
        orders.append(order)
    return orders


def _decoded[T](decoder: msgspec.json.Decoder[T], body: bytes) -> T | None:
    if b"\\" in body or not body.isascii():
        return None
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None


def _is_each_there_once(body: bytes, orders: Sequence[_Order]) -> bool:
    """Whether no key is there twice. No key can be missing: the decoder would have refused the body."""
    items = sum(len(order.items) for order in orders)
    return all(body.count(key) == len(orders) for key in _ORDER_KEYS) and all(
        body.count(key) == items for key in _ITEM_KEYS
    )


def _new_order(plain: _Order) -> NewOrder | None:
    lines = []
    for item in plain.items:
        if not _PRICE.fullmatch(item.price):
            return None
        price = Decimal(bytes(item.price).decode())
        if not price:
            return None
        lines.append(OrderLine(product_id=item.product_id, quantity=item.quantity, price=price))
    order = NewOrder(plain.customer_id, lines)
    return order if order.total_amount < TOTAL_LIMIT else None
