"""What a timeline is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

SERVICES: Mapping[str, str] = {"orders": "order service", "processor": "processor"}
"""The services as people call them, by the names under which they send messages."""

KINDS = (
    "accepted", "sent_again", "outbox", "refused", "published", "received", "tried", "dead_letter", "settled",
    "action", "replay", "decided", "restored", "final",
)  # fmt: skip
"""What can happen to an order. Of two events at the same moment, the one listed earlier here came first."""

type Severity = Literal["info", "good", "warning", "error"]
type Detail = Mapping[str, str | int | float | bool | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to an order. Never holds a body or a traceback: it goes over the API."""

    at: datetime
    service: str
    """Where it happened: one of SERVICES."""
    kind: str
    """One of KINDS."""
    title: str
    severity: Severity = "info"
    detail: Detail = field(default_factory=dict)
    link: str = ""
    """The address of the page about it, relative to the admin of its service; empty when there is none."""

    @property
    def order(self) -> tuple[datetime, int]:
        return self.at, KINDS.index(self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What an order that is not final waits for."""

    service: str
    text: str
    """A sentence."""
    link: str = ""
    """As in an Event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What one service knows of an order."""

    status: str
    """`pending`, `completed` or `failed`; for the processor, what it has decided."""
    correlation_id: str
    summary: str = ""
    """How it ended, in a sentence; empty while it is pending."""
    events: Sequence[Event] = ()
    waits_for: Waiting | None = None
    """What the order waits for in this service; None when it does not wait here."""
    notes: Sequence[str] = ()
    """What is missing from this story, a sentence each."""


def letter_page(pk: int) -> str:
    """The `link` of a dead letter."""
    return f"messaging/deadletter/{pk}/change/"


def outbox_page(pk: int) -> str:
    """The `link` of a message in the outbox."""
    return f"messaging/outboxmessage/{pk}/change/"


def replay_page(pk: int) -> str:
    """The `link` of a replay."""
    return f"messaging/replay/{pk}/change/"
