"""The timeline as JSON, and the parameters to ask for it."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from httpapi.fields import StrictCharField
from timeline.event import KINDS, SERVICES

_LINK = "The page about it, below the admin of its service, like `messaging/deadletter/5/change/`; may be empty."


@extend_schema_field({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}})
class DetailField(serializers.DictField):
    """Names and plain values."""


class EventSerializer(serializers.Serializer[Any]):
    """One thing that happened."""

    at = serializers.DateTimeField()
    seconds_since_previous = serializers.FloatField(
        allow_null=True, help_text="Since the event before; null for the first."
    )
    service = serializers.ChoiceField(choices=list(SERVICES), help_text="Where it happened.")
    kind = serializers.ChoiceField(choices=KINDS)
    title = serializers.CharField(help_text="What happened, for people.")
    severity = serializers.ChoiceField(choices=["info", "good", "warning", "error"])
    detail = DetailField(help_text="More about it. Never what was ordered, never a traceback.")
    link = serializers.CharField(allow_blank=True, help_text=_LINK)


class WaitingSerializer(serializers.Serializer[Any]):
    """What an order that is not final waits for."""

    service = serializers.ChoiceField(choices=list(SERVICES))
    text = serializers.CharField(help_text="A sentence.")
    link = serializers.CharField(allow_blank=True, help_text=_LINK)


class TimelineSerializer(serializers.Serializer[Any]):
    """What happened to an order, oldest first."""

    order_id = serializers.UUIDField()
    service = serializers.ChoiceField(choices=list(SERVICES), help_text="Which service tells it.")
    status = serializers.ChoiceField(choices=["pending", "completed", "failed"])
    correlation_id = serializers.CharField(allow_blank=True, help_text="Finds the logs of both services.")
    summary = serializers.CharField(help_text="How it ended, or what it waits for now, in a sentence.")
    waits_for = WaitingSerializer(allow_null=True, help_text="Null when nothing is known to hold it.")
    is_whole = serializers.BooleanField(help_text="Whether both services have told their half.")
    notes = serializers.ListField(
        child=serializers.CharField(), help_text="What is missing or doubtful, a sentence each."
    )
    events = EventSerializer(many=True)


class HalfParameters(serializers.Serializer[Any]):
    """What the asking service knows better."""

    correlation_id = StrictCharField(
        required=False,
        max_length=255,
        trim_whitespace=False,
        help_text="Of the request that placed the order: also finds failures that name no order.",
    )
    final = serializers.ChoiceField(
        choices=["true", "false"],
        required=False,
        help_text="Whether the order has its result: then the outbox is not searched for it.",
    )
