"""The business of this service: to decide each order once, and to announce what was decided."""

import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from django.db import transaction

from contracts.events import OrderCreated, OrderProcessed
from database.statements import array, execute_prepared
from messaging import outbox
from messaging.errors import TransientError
from messaging.message import Message, OutgoingMessage
from observability import context
from observability.logs import info_each
from observability.metrics import observe_each
from processing import metrics, pipeline
from processing.models import ProcessingRecord

logger = logging.getLogger(__name__)

type OrderMessage = Message[OrderCreated]

_JSON = msgspec.json.Encoder(decimal_format="number")


class Decision(NamedTuple):
    """The columns of a new record, as in `_COLUMNS`. A `ProcessingRecord` would take five times as long to make."""

    order_id: UUID
    outcome: str
    reason: str
    customer_id: str
    total_amount: Decimal
    item_count: int
    attempts: int
    message_id: UUID
    correlation_id: str
    started_at: datetime
    finished_at: datetime
    restored_at: datetime | None
    order: dict[str, Any]


_COLUMNS = {
    "order_id": "uuid",
    "outcome": "text",
    "reason": "text",
    "customer_id": "text",
    "total_amount": "numeric",
    "item_count": "integer",
    "attempts": "integer",
    "message_id": "uuid",
    "correlation_id": "text",
    "started_at": "timestamptz",
    "finished_at": "timestamptz",
    "restored_at": "timestamptz",
}
# The orders come as one JSON text: in an array of texts each of their quotes would have to be escaped.
_INSERT = f"""
    INSERT INTO {ProcessingRecord._meta.db_table} ({", ".join(_COLUMNS)}, "order")
    SELECT * FROM ROWS FROM (
        unnest({", ".join(f"%s::{kind}[]" for kind in _COLUMNS.values())}),
        jsonb_array_elements(%s::jsonb)
    )
    ON CONFLICT (order_id) DO NOTHING
    RETURNING order_id
"""
# Records and their announcements in one round trip.
_KEEP = f"WITH announced AS ({outbox.ADD_EACH}), kept AS ({_INSERT}) SELECT count(*) FROM kept"
# Looks up each order by itself, so that even a plan made when there were few records finds them by their key. For all
# together the planner may choose any index that has the order's id in it, and walk it from end to end for each batch.
_DECIDED = f"""
    SELECT (SELECT order_id FROM {ProcessingRecord._meta.db_table} WHERE order_id = given.id)
    FROM unnest(%s::uuid[]) AS given (id)"""


@transaction.atomic(savepoint=False)
def process_orders(messages: Sequence[OrderMessage]) -> None:
    """Decide these orders, keep a record of each, and announce each with one `order.processed`.

    All of it is kept or undone together, with the caller's transaction if there is one. An order that has a record
    keeps it: it runs through no step and is not announced again. Raises TransientError when another consumer decides
    one of the orders at this moment, and whatever a step raises except BusinessRuleViolation; nothing is kept then.

    A crash before the commit leaves no trace, and the messages come again. After it, the outbox announces the
    decisions, and messages that come again have no effect.
    """
    fresh, repeated = _first_of_each_undecided_order(messages)
    steps = pipeline.configured_steps()
    with context.bind(correlation_id=""):
        decisions = [_decide(message, steps) for message in fresh]
    if decisions:
        traces = [message.traceparent for message in fresh]
        _keep(decisions, [announcement(*decided) for decided in zip(decisions, traces, strict=True)])
    # Not before the commit: until then all of this may be rolled back and run again.
    transaction.on_commit(partial(_report, decisions, repeated), robust=True)


def _first_of_each_undecided_order(
    messages: Sequence[OrderMessage],
) -> tuple[list[OrderMessage], list[OrderMessage]]:
    """The messages to act on, and those to pass over.

    This only saves running the steps for decided orders. Whether an order is new, the unique key decides.
    """
    order_ids = array("uuid", [message.payload.order_id for message in messages])
    seen: set[UUID | None] = {order_id for (order_id,) in execute_prepared(_DECIDED, [order_ids])}
    fresh: list[OrderMessage] = []
    repeated: list[OrderMessage] = []
    for message in messages:
        (repeated if message.payload.order_id in seen else fresh).append(message)
        seen.add(message.payload.order_id)
    return fresh, repeated


def _decide(message: OrderMessage, steps: Sequence[pipeline.Step]) -> Decision:
    order = message.payload
    context.rebind(correlation_id=message.correlation_id, traceparent=message.traceparent)
    started_at, clock = datetime.now(UTC), time.perf_counter_ns()
    reason = pipeline.decide(order, steps)
    return Decision(
        order_id=order.order_id,
        outcome="failed" if reason else "completed",
        reason=reason,
        customer_id=order.customer_id,
        total_amount=order.total_amount,
        item_count=len(order.items),
        attempts=message.attempt,
        message_id=message.id,
        correlation_id=message.correlation_id,
        started_at=started_at,
        # The wall clock may be set back meanwhile.
        finished_at=started_at + timedelta(0, 0, (time.perf_counter_ns() - clock) // 1000),
        restored_at=None,
        order={"items": order.items, "created_at": order.created_at},
    )


def _keep(decisions: Sequence[Decision], announcements: Sequence[OutgoingMessage]) -> None:
    """Write records and announcements. Raises TransientError when one of the orders has a record by now.

    Waits while another transaction holds one of the orders, until that commits or rolls back. If it commits, what the
    steps have done here for its order must not be kept, so everything is rolled back.
    """
    ((kept,),) = execute_prepared(_KEEP, [*outbox.columns(announcements), *_columns(decisions)])
    if kept != len(decisions):
        raise TransientError("Another consumer has just decided an order of this batch")
    transaction.on_commit(outbox.wake_relay, robust=True)


def insert(decisions: Sequence[Decision]) -> set[UUID]:
    """Write the records, except for orders that have one. Returns the orders whose records were written.

    One statement: a crash leaves all of them or none.
    """
    return {order_id for (order_id,) in execute_prepared(_INSERT, _columns(decisions))} if decisions else set()


def _columns(decisions: Sequence[Decision]) -> list[str]:
    # Sorted, so that two consumers with the same orders wait for each other instead of deadlocking.
    ordered = sorted(decisions, key=lambda decided: decided.order_id)
    *columns, orders = zip(*ordered, strict=True)
    arrays = [array(kind, column) for kind, column in zip(_COLUMNS.values(), columns, strict=True)]
    return [*arrays, _JSON.encode(orders).decode()]


def announcement(decided: Decision | ProcessingRecord, traceparent: str = "") -> OutgoingMessage:
    """The `order.processed` of this decision, with a message id of its own; continues the trace, if there is one."""
    event = OrderProcessed(
        order_id=decided.order_id,
        status="failed" if decided.reason else "completed",
        error_message=decided.reason or None,
    )
    return OutgoingMessage(
        type=event.TYPE,
        body=event.to_json(),
        schema_version=event.SCHEMA_VERSION,
        correlation_id=decided.correlation_id,
        traceparent=context.child_traceparent(traceparent),
    )


def _report(decisions: Sequence[Decision], repeated: Sequence[OrderMessage]) -> None:
    durations: dict[str, list[float]] = {}
    lines: list[dict[str, Any]] = []
    for decided in decisions:
        seconds = (decided.finished_at - decided.started_at).total_seconds()
        durations.setdefault(decided.outcome, []).append(seconds)
        lines.append(
            {
                "order_id": decided.order_id,
                "message_id": decided.message_id,
                "correlation_id": decided.correlation_id,
                "outcome": decided.outcome,
                "attempt": decided.attempts,
                "duration_ms": round(1000 * seconds, 3),
            }
        )
    for outcome, each in durations.items():
        metrics.ORDERS_PROCESSED.labels(outcome).inc(len(each))
        observe_each(metrics.PROCESSING_SECONDS.labels(outcome), each)
    info_each(logger, "order processed", lines)
    for message in repeated:
        logger.info(
            "order was processed before, nothing done",
            extra={
                "order_id": message.payload.order_id,
                "message_id": message.id,
                "correlation_id": message.correlation_id,
                "attempt": message.attempt,
            },
        )
