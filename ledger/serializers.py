"""The page of a book as JSON, and what may be asked for."""

from typing import Any

from rest_framework import serializers

from ledger.book import CREATED, MAX_PAGE, PROCESSED


class EntrySerializer(serializers.Serializer[Any]):
    """One order at one place. An order may have several entries."""

    order_id = serializers.UUIDField()
    place = serializers.ChoiceField(
        choices=["order", "record", "outbox", "dead_letter"],
        help_text="`order` or `record`: kept by this service; else a message about the order that waits here.",
    )
    state = serializers.ChoiceField(
        choices=["pending", "completed", "failed", CREATED, PROCESSED],
        help_text="The status of an order or record; of a message, which one it is.",
    )
    since = serializers.DateTimeField()
    lines = serializers.IntegerField(allow_null=True, help_text="How many items the order has; null for a message.")


class LedgerSerializer(serializers.Serializer[Any]):
    """A page of this service's book."""

    service = serializers.CharField(help_text="Whose book it is.")
    next = serializers.URLField(allow_null=True, help_text="The page after this one, null on the last.")
    queued = serializers.IntegerField(
        allow_null=True,
        help_text="Messages in this service's own queues. Null before the last page, and when the broker is away.",
    )
    results = EntrySerializer(many=True)


class LedgerParameters(serializers.Serializer[Any]):
    """The query parameters."""

    after = serializers.CharField(
        required=False, max_length=64, trim_whitespace=False, help_text="Where the page starts: take it from `next`."
    )
    limit = serializers.RegexField(
        r"\A[0-9]{1,4}\Z",
        required=False,
        default="1000",
        trim_whitespace=False,
        help_text=f"How many entries, 1 to {MAX_PAGE}.",
    )

    def validate_limit(self, value: str) -> int:
        if not 1 <= int(value) <= MAX_PAGE:
            raise serializers.ValidationError(f"An integer from 1 to {MAX_PAGE} is required.")
        return int(value)
