"""The processing record as JSON, and the parameters that narrow the list."""

from typing import Any, ClassVar

from rest_framework import serializers

from contracts.events import MAX_TEXT
from httpapi.fields import MoneyField, StrictCharField
from processing.models import ProcessingRecord


class RecordSerializer(serializers.Serializer[ProcessingRecord]):
    """What was decided about one order."""

    order_id = serializers.UUIDField(help_text="The order's id in the order service.")
    outcome = serializers.ChoiceField(choices=ProcessingRecord.Outcome.choices)
    reason = serializers.SerializerMethodField(help_text="The business rule that the order broke; null unless failed.")
    customer_id = serializers.CharField()
    total_amount = MoneyField()
    item_count = serializers.IntegerField(help_text="How many lines the order has.")
    attempts = serializers.IntegerField(help_text="The attempt that decided it, from 1: failures count, not crashes.")
    message_id = serializers.UUIDField(help_text="The message that brought the order.")
    correlation_id = serializers.CharField(help_text="Finds the order in the logs of both services.")
    started_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField()
    duration_ms = serializers.FloatField(help_text="How long the rules took, without the time in queues.")
    restored_at = serializers.DateTimeField(
        allow_null=True,
        help_text="When `reconcile` wrote this record anew: then attempts, message and times are not the first ones.",
    )

    def get_reason(self, record: ProcessingRecord) -> str | None:
        return record.reason or None


class ItemSerializer(serializers.Serializer[Any]):
    """One line of an order."""

    product_id = serializers.CharField()
    quantity = serializers.IntegerField()
    price = MoneyField()


class OrderCopySerializer(serializers.Serializer[Any]):
    """What the record does not have in fields of its own."""

    items = ItemSerializer(many=True)
    created_at = serializers.DateTimeField()


class RecordDetailSerializer(RecordSerializer):
    """What was decided about one order, with the order."""

    order = OrderCopySerializer(
        allow_null=True, help_text="The order as it was announced; null in records of before it was kept."
    )


class RecordFilters(serializers.Serializer[Any]):
    """The query parameters of the list. They narrow each other."""

    LOOKUPS: ClassVar[dict[str, str]] = {
        "outcome": "outcome",
        "order_id": "order_id",
        "customer_id": "customer_id",
        "correlation_id": "correlation_id",
        "created_after": "finished_at__gt",
        "created_before": "finished_at__lt",
    }

    outcome = serializers.ChoiceField(choices=ProcessingRecord.Outcome.choices, required=False, help_text="Only these.")
    order_id = serializers.UUIDField(required=False, help_text="Exactly this order.")
    customer_id = StrictCharField(
        required=False, max_length=MAX_TEXT, trim_whitespace=False, help_text="Exactly this customer."
    )
    correlation_id = StrictCharField(
        required=False, max_length=MAX_TEXT, trim_whitespace=False, help_text="Exactly this correlation id."
    )
    created_after = serializers.DateTimeField(
        required=False, help_text="Finished later than this moment (ISO 8601; UTC unless it says otherwise)."
    )
    created_before = serializers.DateTimeField(required=False, help_text="Finished earlier than this moment.")
