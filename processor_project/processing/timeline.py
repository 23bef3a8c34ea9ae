"""What this service knows of what happened to an order."""

from uuid import UUID

from processing.ledger import NO_MESSAGE
from processing.models import ProcessingRecord
from timeline.event import Event, Story, Waiting
from timeline.messaging_events import collect
from timeline.waiting import consumer_is_missing


def story(order_id: UUID, *, correlation_id: str = "", is_final: bool = False) -> Story | None:
    """The order from its arrival until its result was sent; without events for an order that never came.

    `is_final`: the order service has the result, so it cannot still be on its way. An order that has no record yet is
    also found by its `correlation_id`.
    """
    record = ProcessingRecord.objects.defer("order").filter(order_id=order_id).first()
    correlation_id = (record.correlation_id if record else "") or correlation_id
    found = collect(
        subject=str(order_id),
        correlation_id=correlation_id,
        sender="orders",
        message_ids=[record.message_id] if record and record.message_id != NO_MESSAGE else [],
        is_handled=record is not None,
        may_wait_in_outbox=not is_final,
        not_before=record.finished_at if record else None,
    )
    if record is None:
        return Story(
            status="pending",
            correlation_id=correlation_id,
            events=found.events,
            waits_for=found.waits_for or _nobody_takes_it(),
            notes=found.notes,
        )
    return Story(
        status=record.outcome,
        correlation_id=correlation_id,
        summary="" if found.waits_for else f"{_decided(record)}.",
        events=[*_events(record), *found.events],
        waits_for=found.waits_for,
        notes=found.notes,
    )


def _events(record: ProcessingRecord) -> list[Event]:
    page = f"processing/processingrecord/{record.order_id}/change/"
    detail: dict[str, str | int | float] = {}
    if record.reason:
        detail["reason"] = record.reason
    if record.restored_at is None:
        detail |= {"took_ms": round(record.duration_ms, 3), "try": record.attempts}
        detail["message_id"] = str(record.message_id)
    else:
        detail["known_from"] = "the order service: this record was written anew"
    events = [
        Event(
            at=record.finished_at,
            service="processor",
            kind="decided",
            title=_decided(record),
            severity="info" if record.reason else "good",
            detail=detail,
            link=page,
        )
    ]
    if record.restored_at is not None:
        title = "Record written anew by reconcile"
        events.append(
            Event(
                at=record.restored_at, service="processor", kind="restored", title=title, severity="warning", link=page
            )
        )
    return events


def _nobody_takes_it() -> Waiting | None:
    if not consumer_is_missing():
        return None
    text = "No consumer of the processor is running: what was sent to it waits in the broker."
    return Waiting(service="processor", text=text)


def _decided(record: ProcessingRecord) -> str:
    return f"Decided: {record.outcome}"
