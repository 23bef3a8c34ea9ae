"""A page of a book as JSON, and the parameters to ask for it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from rest_framework import serializers

from httpapi.timestamps import timestamp
from ledger.book import CREATED, DEAD_LETTER, DISCARDED, MAX_PAGE, PROCESSED, Entry


class EntrySerializer(serializers.Serializer[Any]):
    """One order at one place. An order may have several entries."""

    order_id = serializers.UUIDField()
    place = serializers.ChoiceField(
        choices=["order", "record", "outbox", DEAD_LETTER],
        help_text="`order` or `record`: kept by this service; else a message about the order that waits here.",
    )
    state = serializers.ChoiceField(
        choices=["pending", "completed", "failed", CREATED, PROCESSED],
        help_text="The status of an order or record; of a message, which one it is.",
    )
    since = serializers.DateTimeField()
    lines = serializers.IntegerField(allow_null=True, help_text="How many items the order has; null for a message.")
    discarded = serializers.BooleanField(help_text="Of a dead letter: somebody has discarded it. Else false.")


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


def as_json(entry: Entry) -> dict[str, Any]:
    """The entry as the other service reads it. A release that does not know `discarded` reads a dead letter that waits,
    so that it neither calls the order lost nor announces it again."""
    is_discarded = entry.place == DISCARDED
    return entry._asdict() | {
        "order_id": str(entry.order_id),
        "place": DEAD_LETTER if is_discarded else entry.place,
        "since": timestamp(entry.since),
        "discarded": is_discarded,
    }


def from_json(found: Mapping[str, Any]) -> Entry:
    """The entry in the JSON of `as_json`, also of a release that does not know `discarded`.

    Raises KeyError, TypeError or ValueError for anything else.
    """
    place = DISCARDED if found.get("discarded") else found["place"]
    return Entry(UUID(found["order_id"]), place, found["state"], datetime.fromisoformat(found["since"]), found["lines"])
