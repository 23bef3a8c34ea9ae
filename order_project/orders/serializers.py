"""The order as JSON: how what a client sends is checked, and what a client gets."""

from collections.abc import Iterable, Mapping
from itertools import groupby
from operator import attrgetter
from typing import Any, ClassVar
from uuid import UUID

from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema_field
from rest_framework import serializers

from contracts.events import MAX_TEXT, MONEY_DIGITS, MONEY_PLACES, OrderCreated, OrderLine
from httpapi.fields import MoneyField, StrictCharField, StrictIntegerField
from httpapi.openapi import ProblemErrorSerializer
from httpapi.problems import error, pointers
from httpapi.serializers import Serializer
from httpapi.timestamps import timestamp
from orders.models import Order, OrderItem
from orders.new_order import MAX_ITEMS_PER_ORDER, MAX_ORDERS_PER_BATCH, TOTAL_LIMIT, NewOrder, Refused
from orders.services import OrderState

MAX_WRONG_ITEMS = 10
"""How many invalid items of an order are explained."""
_TOO_MANY_WRONG = (
    f"This item is wrong too; no more than {MAX_WRONG_ITEMS} are explained, and those after it were not looked at."
)


class NewItemsSerializer(serializers.ListSerializer[Any]):
    """The lines of a new order.

    Stops at the first invalid one after `MAX_WRONG_ITEMS`: the answer to a batch of small orders could otherwise have
    many megabytes.
    """

    def to_internal_value(self, data: Any) -> list[Any]:
        if not isinstance(data, list) or not 1 <= len(data) <= MAX_ITEMS_PER_ORDER:
            refused: list[Any] = super().to_internal_value(data)
            return refused
        held: list[Any] = []
        wrong: dict[Any, Any] = {}
        for index, item in enumerate(data):
            try:
                held.append(self.run_child_validation(item))
            except serializers.ValidationError as exc:
                if len(wrong) == MAX_WRONG_ITEMS:
                    wrong[index] = [_TOO_MANY_WRONG]
                    break
                wrong[index] = exc.detail
        if wrong:
            raise serializers.ValidationError(wrong)
        return held


class NewItemSerializer(Serializer):
    """One line of a new order."""

    class Meta:
        list_serializer_class = NewItemsSerializer

    product_id = StrictCharField(max_length=MAX_TEXT)
    quantity = StrictIntegerField(min_value=1)
    price = MoneyField(max_digits=MONEY_DIGITS, positive=True)


class NewOrderSerializer(Serializer):
    """What a client posts."""

    customer_id = StrictCharField(max_length=MAX_TEXT)
    items = NewItemSerializer(  # type: ignore[call-arg]  # the keywords are those of the list around it
        many=True,
        allow_empty=False,
        max_length=MAX_ITEMS_PER_ORDER,
        help_text="Their total, quantity times price, has at most "
        f"{MONEY_DIGITS - MONEY_PLACES} digits before the point.",
        error_messages={"max_length": "An order has at most {max_length} items (MAX_ITEMS_PER_ORDER)."},
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        total = sum(item["quantity"] * item["price"] for item in attrs["items"])
        if total >= TOTAL_LIMIT:
            raise serializers.ValidationError(
                {
                    "items": f"The total amount has more than {MONEY_DIGITS} digits: it is {total:.2f} and must be "
                    f"below {TOTAL_LIMIT}."
                }
            )
        return attrs


@extend_schema_field(
    {
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_ORDERS_PER_BATCH,
        "description": "Each as `POST /orders` takes it. One that is not valid is refused by itself, in its result.",
        "items": {
            "anyOf": [
                {"$ref": "#/components/schemas/NewOrderRequest"},
                {"description": "Anything else is refused by itself."},
            ]
        },
    }
)
class NewOrdersField(serializers.ListField):
    """A list of anything: an entry that is no order gets a result of its own, as every order does."""

    default_error_messages = {"max_length": "A batch has at most {max_length} orders."}


class NewBatchSerializer(Serializer):
    """What a client posts to place many orders at once."""

    orders = NewOrdersField(allow_empty=False, max_length=MAX_ORDERS_PER_BATCH)


def check(data: Any) -> NewOrder:
    """The order in a parsed body. Raises ValidationError for one that is not valid."""
    return _new_order(NewOrderSerializer().run_validation(data))


def check_each(orders: Iterable[Any]) -> list[NewOrder | Refused]:
    """Checks each of these, as it came out of JSON, by the rules of `POST /orders`."""
    # One serializer for all: making one takes as long as checking a small order.
    validate = NewOrderSerializer().run_validation
    checked: list[NewOrder | Refused] = []
    for sent in orders:
        try:
            checked.append(_new_order(validate(sent)))
        except serializers.ValidationError as exc:
            checked.append(Refused(list(pointers(exc.detail)) or [error("", "Invalid input.")], sent))
    return checked


def _new_order(valid: Mapping[str, Any]) -> NewOrder:
    return NewOrder(valid["customer_id"], [OrderLine(**item) for item in valid["items"]])


class ItemSerializer(serializers.Serializer[Any]):
    """One line of an order."""

    product_id = serializers.CharField()
    quantity = serializers.IntegerField()
    price = MoneyField()


class OrdersSerializer(serializers.ListSerializer[Any]):
    """A page of orders. Without models of their items, which would take most of the time: there may be 500,000."""

    def to_representation(self, data: Any) -> list[Any]:
        found = OrderItem.objects.filter(order__in=data).order_by("order_id", "position")
        rows = found.values_list("order_id", "product_id", "quantity", "price", named=True)
        items: dict[UUID, Any] = {id: list(lines) for id, lines in groupby(rows, key=attrgetter("order_id"))}
        return [as_json(order, items.get(order.id, [])) for order in data]


class OrderSerializer(serializers.Serializer[Order]):
    """An order, with what has become of it."""

    class Meta:
        list_serializer_class = OrdersSerializer

    id = serializers.UUIDField(help_text="UUIDv7.")
    customer_id = serializers.CharField()
    items = ItemSerializer(many=True)
    total_amount = MoneyField()
    status = serializers.ChoiceField(
        choices=Order.Status.choices, help_text="`pending` until the processor has decided it, then final."
    )
    error_message = serializers.CharField(allow_null=True, help_text="Why it failed; null unless it did.")
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField(help_text="When the status was set; before that, when it was placed.")


class PlacedOrderSerializer(serializers.Serializer[Any]):
    """An order of a batch that was placed."""

    status = serializers.IntegerField(min_value=201, max_value=201, help_text="As `POST /orders` would have answered.")
    order = OrderSerializer(help_text="The order as it was placed.")


class RefusedOrderSerializer(serializers.Serializer[Any]):
    """An order of a batch that was refused."""

    status = serializers.IntegerField(min_value=422, max_value=422, help_text="As `POST /orders` would have answered.")
    errors = ProblemErrorSerializer(  # type: ignore[assignment]  # a field here, not an attribute of the class
        many=True, help_text="Each single thing that is wrong. The pointers lead into this order."
    )


@extend_schema_field(
    PolymorphicProxySerializer(
        component_name="OrderResult",
        serializers=[PlacedOrderSerializer, RefusedOrderSerializer],
        resource_type_field_name=None,
        many=True,
    )
)
class OrderResultsField(serializers.ListField):
    """What became of each order."""


class BatchSerializer(serializers.Serializer[Any]):
    """What became of a batch."""

    results = OrderResultsField(help_text="One for each order, in the order in which they were sent.")
    accepted = serializers.IntegerField(min_value=0, help_text="How many were placed.")
    refused = serializers.IntegerField(min_value=0, help_text="How many were refused.")


def as_json(order: Order | OrderState, items: Iterable[OrderItem | OrderLine]) -> dict[str, Any]:
    """The order as `OrderSerializer` declares it. Written out: through its fields it would take ten times as long."""
    created_at, updated_at = timestamp(order.created_at), timestamp(order.updated_at)
    return _as_json(order.id, order, items, order.status, order.error_message, created_at, updated_at)


def as_placed(order: OrderCreated) -> dict[str, Any]:
    """The order as `as_json` shows it before anything has become of it."""
    placed_at = timestamp(order.created_at)
    return _as_json(order.order_id, order, order.items, "pending", None, placed_at, placed_at)


def _as_json(
    id: UUID,
    order: Order | OrderState | OrderCreated,
    items: Iterable[OrderItem | OrderLine],
    status: str,
    error_message: str | None,
    created_at: str,
    updated_at: str,
) -> dict[str, Any]:
    return {
        "id": str(id),
        "customer_id": order.customer_id,
        "items": [
            {"product_id": item.product_id, "quantity": item.quantity, "price": float(item.price)} for item in items
        ],
        "total_amount": float(order.total_amount),
        "status": status,
        "error_message": error_message,
        "created_at": created_at,
        "updated_at": updated_at,
    }


def as_results(outcomes: Iterable[OrderCreated | list[dict[str, str]]]) -> list[dict[str, Any]]:
    """What became of each order of a batch, as `BatchSerializer` declares it."""
    return [
        {"status": 201, "order": as_placed(outcome)}
        if isinstance(outcome, OrderCreated)
        else {"status": 422, "errors": outcome}
        for outcome in outcomes
    ]


class OrderFilters(serializers.Serializer[Any]):
    """The query parameters of the list. They narrow each other."""

    LOOKUPS: ClassVar[dict[str, str]] = {
        "status": "status",
        "customer_id": "customer_id",
        "created_after": "created_at__gt",
        "created_before": "created_at__lt",
    }

    status = serializers.ChoiceField(choices=Order.Status.choices, required=False, help_text="Only these.")
    customer_id = StrictCharField(required=False, max_length=MAX_TEXT, help_text="Exactly this customer.")
    created_after = serializers.DateTimeField(
        required=False, help_text="Placed later than this moment (ISO 8601; UTC unless it says otherwise)."
    )
    created_before = serializers.DateTimeField(required=False, help_text="Placed earlier than this moment.")
