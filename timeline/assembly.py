"""Puts a timeline together: this service's half, the other's half, and the time between the steps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone
from django.utils.module_loading import import_string

from desk.display import duration
from httpapi.timestamps import timestamp
from messaging.conf import config
from timeline import peer
from timeline.event import SERVICES, Event, Story, Waiting
from timeline.waiting import consumer_is_missing

MAX_EVENTS = 500
_FIRST = 50
"""How many events of a timeline that is too long are kept from its beginning; the others are from its end."""

type Tell = Callable[..., Story | None]


@dataclass(frozen=True, slots=True)
class Step:
    """An event of a timeline."""

    event: Event
    seconds: float | None
    """Seconds since the step before; None for the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """What happened to an order, oldest first."""

    order_id: UUID
    service: str
    """The service that tells it."""
    status: str
    correlation_id: str
    summary: str
    """How it ended, or what it waits for now, in a sentence."""
    waits_for: Waiting | None
    notes: Sequence[str]
    """What is missing or doubtful, a sentence each."""
    is_whole: bool
    """Whether both services have told their half."""
    steps: Sequence[Step]


def timeline_of(order_id: UUID, *, correlation_id: str = "", is_final: bool = False) -> Timeline | None:
    """The timeline of an order; None for one that this service does not know.

    With a PEER in the settings the other service is asked for its half. When that is away, this costs up to
    `peer.DEADLINE` seconds, and a note says so. A service without PEER never asks back. `correlation_id` and `is_final`
    come from the asking service, which knows them better.
    """
    tell: Tell = import_string(settings.TIMELINE["STORY"])
    own = tell(order_id, correlation_id=correlation_id, is_final=is_final)
    if own is None:
        return None
    notes = list(own.notes)
    half: peer.Half | None = None
    asks = bool(settings.TIMELINE.get("PEER"))
    if asks:
        try:
            half = peer.fetch(order_id, correlation_id=own.correlation_id, is_final=own.status != "pending")
        except peer.PeerAway as reason:
            name = SERVICES[settings.TIMELINE["PEER"]]
            notes.insert(
                0, f"{reason} Only what the {SERVICES[config().service]} knows is shown, not the {name}'s half."
            )
        else:
            notes += half.notes
    waits_for, summary = own.waits_for, own.summary
    if not summary:
        waits_for = waits_for or (half.waits_for if half else None)
        summary = waits_for.text if waits_for else _on_its_way(own, half, asks=asks)
    events, is_cut = _merge([*own.events, *(half.events if half else ())])
    if is_cut:
        notes.append(f"It has more than {MAX_EVENTS} events; some from the middle are left out.")
    if half is not None and _is_restored(events):
        notes.append("Reconcile has restored the order from the processor's record: its end is the decision's time.")
    if ahead := _clocks_differ(events):
        notes.append(f"The clocks of the two services differ by {ahead} or more, so steps may stand in a wrong order.")
    return Timeline(
        order_id=order_id,
        service=config().service,
        status=own.status,
        correlation_id=own.correlation_id,
        summary=summary,
        waits_for=waits_for,
        notes=notes,
        is_whole=half is not None,
        steps=_steps(events),
    )


def as_json(timeline: Timeline) -> dict[str, Any]:
    """The timeline as the API and `trace --json` show it."""
    waits_for = timeline.waits_for
    return {
        "order_id": str(timeline.order_id),
        "service": timeline.service,
        "status": timeline.status,
        "correlation_id": timeline.correlation_id,
        "summary": timeline.summary,
        "waits_for": waits_for and {"service": waits_for.service, "text": waits_for.text, "link": waits_for.link},
        "is_whole": timeline.is_whole,
        "notes": list(timeline.notes),
        "events": [
            {
                "at": timestamp(step.event.at),
                "seconds_since_previous": step.seconds,
                "service": step.event.service,
                "kind": step.event.kind,
                "title": step.event.title,
                "severity": step.event.severity,
                "detail": dict(step.event.detail),
                "link": step.event.link,
            }
            for step in timeline.steps
        ],
    }


def _on_its_way(own: Story, half: peer.Half | None, *, asks: bool) -> str:
    """Where an order is when it waits in neither service."""
    if not asks:
        return f"The {SERVICES[config().service]} has not received it, or is just working on it."
    name = SERVICES[settings.TIMELINE["PEER"]]
    if half is None:
        return f"It has left the {SERVICES[config().service]}; where it is now, only the {name} knows."
    decided = next((event for event in half.events if event.kind == "decided"), None)
    if decided is None:
        since = max((event.at for event in own.events), default=timezone.now())
        return f"It is on its way to the {name}, or just being worked on there, for {_ago(since)}."
    missing = f": no consumer of the {SERVICES[config().service]} is running." if consumer_is_missing() else "."
    return f"The {name} has decided it {_ago(decided.at)} ago; the result is on its way back{missing}"


def _merge(events: Sequence[Event]) -> tuple[list[Event], bool]:
    ordered = sorted(events, key=lambda event: event.order)
    if len(ordered) <= MAX_EVENTS:
        return ordered, False
    return [*ordered[:_FIRST], *ordered[_FIRST - MAX_EVENTS :]], True


def _steps(events: Sequence[Event]) -> list[Step]:
    steps: list[Step] = []
    before: datetime | None = None
    for event in events:
        steps.append(Step(event, None if before is None else (event.at - before).total_seconds()))
        before = event.at
    return steps


def _is_restored(events: Sequence[Event]) -> bool:
    """Whether the order was restored from the record, and not the record from the order.

    A result that comes by message is never taken in the very microsecond in which it was decided.
    """
    at = {event.kind: event.at for event in events}
    return "final" in at and at["final"] == at.get("decided") and "restored" not in at


def _clocks_differ(events: Sequence[Event]) -> str:
    """By how much the clocks differ at least, if an effect is dated before its cause; else empty."""
    at: dict[str, datetime] = {}
    for event in events:
        at.setdefault(event.kind, event.at)
    ahead = timedelta(0)
    for cause, effect in (("accepted", "received"), ("accepted", "decided"), ("decided", "final")):
        if cause in at and effect in at:
            ahead = max(ahead, at[cause] - at[effect])
    return duration(ahead.total_seconds()) if ahead else ""


def _ago(since: datetime) -> str:
    return duration((timezone.now() - since).total_seconds())
