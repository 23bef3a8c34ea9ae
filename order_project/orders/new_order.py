"""Reading an order that a client posts."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from django.conf import settings
from msgspec import Meta, Raw, Struct

from contracts.events import MONEY_DIGITS, MONEY_PLACES, OrderLine
from httpapi.fields import MAX_INTEGER
from orders.serializers import NewOrderSerializer


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order that holds."""

    customer_id: str
    lines: list[OrderLine]


def check(data: Any) -> NewOrder:
    """The order in a parsed body. Raises ValidationError for one that does not hold."""
    serializer = NewOrderSerializer(data=data)
    serializer.is_valid(raise_exception=True)
    valid = serializer.validated_data
    return NewOrder(valid["customer_id"], [OrderLine(**item) for item in valid["items"]])


# What follows is for the fast path alone: an order that holds and has nothing special about it is read and checked in
# one go, in a tenth of the time. All others are the serializer's, and so is every word about what is wrong. It need not
# know all that may be said, only never take what the serializer would not, or otherwise.

# Limits below zero are for the system checks to refuse, which run later than this.
_MOST_CHARACTERS = max(0, settings.MAX_TEXT_LENGTH)
_MOST_ITEMS = max(0, settings.MAX_ITEMS_PER_ORDER)

type _Text = Annotated[str, Meta(max_length=_MOST_CHARACTERS, pattern=r"^[!-~]([ -~]*[!-~])?$")]


class _Item(Struct, forbid_unknown_fields=True):
    product_id: _Text
    quantity: Annotated[int, Meta(ge=1, le=MAX_INTEGER)]
    price: Raw


class _Order(Struct, forbid_unknown_fields=True):
    customer_id: _Text
    items: Annotated[list[_Item], Meta(min_length=1, max_length=_MOST_ITEMS)]


_DECODER = msgspec.json.Decoder(_Order)
_PRICE = re.compile(rb"[0-9]{1,%d}(\.[0-9]{1,%d})?" % (MONEY_DIGITS - MONEY_PLACES, MONEY_PLACES))
_LIMIT = Decimal(10) ** (settings.MAX_MONEY_DIGITS - MONEY_PLACES)
# Each key is there once for the order or for each item. Without escapes none can be written in another way, so what
# counts more is a key that is there twice, or a text that looks like one.
_ORDER_KEYS = (b'"customer_id"', b'"items"')
_ITEM_KEYS = (b'"product_id"', b'"quantity"', b'"price"')


def read_plain(body: bytes) -> NewOrder | None:
    """The order, as the serializer would read it; None if it has to be asked."""
    if b"\\" in body or not body.isascii():
        return None
    try:
        order = _DECODER.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    items = order.items
    if any(body.count(key) != 1 for key in _ORDER_KEYS) or any(body.count(key) != len(items) for key in _ITEM_KEYS):
        return None
    lines = []
    total = Decimal(0)
    for item in items:
        if not _PRICE.fullmatch(item.price):
            return None
        price = Decimal(bytes(item.price).decode())
        if not price:
            return None
        total += item.quantity * price
        lines.append(OrderLine(product_id=item.product_id, quantity=item.quantity, price=price))
    return NewOrder(order.customer_id, lines) if total < _LIMIT else None
