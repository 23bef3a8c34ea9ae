"""Placing an order, reading it, and recording how the processor decided it.

Orders are also written by `batches`, many at once, and by `ledger`, which restores lost ones.
"""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import orjson
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from uuid_utils.compat import uuid7

from contracts.events import OrderCreated, OrderLine, OrderProcessed
from database.statements import array, ensure_durable, execute_prepared
from messaging import backpressure, failpoints, outbox
from messaging.errors import PermanentError
from messaging.message import Message, OutgoingMessage
from observability.context import current_correlation_id
from observability.logs import info_each
from observability.metrics import observe_each
from orders.metrics import ORDERS_ACCEPTED, ORDERS_FINAL, SECONDS_TO_FINAL
from orders.models import Order, OrderBatch, OrderItem
from orders.new_order import NewOrder

if TYPE_CHECKING:
    from django.contrib.auth.models import User

logger = logging.getLogger(__name__)

IDEMPOTENCY_CONSTRAINT = "order_idempotency_key"


class IdempotencyKeyInUse(Exception):
    """Another request with this key is being answered right now: ask again in a moment."""


class IdempotencyKeyReused(Exception):
    """This key belongs to another order: the client made a mistake, or its keys are not unique."""


class TakesNoOrders(Exception):
    """The orders taken so far cannot be announced, so no more are taken for now."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Try again in {retry_after} seconds.")
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Placed:
    """An order as it was first answered: pending, whatever has become of it since."""

    order: OrderCreated
    replayed: bool


def place_order(new: NewOrder, *, placed_by: "User | None" = None, idempotency_key: str | None = None) -> Placed:
    """Takes an order and announces it, in one transaction.

    With an `idempotency_key` (unique for each `placed_by`) the same order comes back however often it is sent; the
    unique constraint decides, so this holds for ever and under any race.

    Raises IdempotencyKeyInUse while another request with the key is under way, IdempotencyKeyReused when the key was
    sent with another order, and TakesNoOrders under back-pressure, if the settings say so; an order whose key is known
    comes back even then. Raises RuntimeError inside a transaction, and InvalidEvent when the announcement would be
    longer than 4 MiB, which can only happen if MAX_ITEMS_PER_ORDER is raised.

    A crash before the commit leaves nothing; after it the order is kept and will be announced, even if the client
    never got its answer.
    """
    request_digest = digest(new) if idempotency_key is not None else None
    if pressure := backpressure.refusing():
        if idempotency_key is None or not is_known(Order, placed_by, idempotency_key):
            raise TakesNoOrders(pressure.retry_after)
        return _replay(placed_by, idempotency_key, request_digest)
    order = order_created(new, timezone.now())
    # So that an answer of 201 has a commit behind it, not a caller's open transaction.
    ensure_durable()
    try:
        _write(order, placed_by, idempotency_key, request_digest)
    except IntegrityError as error:
        if idempotency_key is None or not _violates(error, IDEMPOTENCY_CONSTRAINT):
            raise
        return _replay(placed_by, idempotency_key, request_digest)
    outbox.wake_relay()
    failpoints.reach("orders.place.committed")
    ORDERS_ACCEPTED.inc()
    logger.info("order accepted", extra={"order_id": str(order.order_id), "items": len(order.items)})
    return Placed(order=order, replayed=False)


class OrderState(NamedTuple):
    """An order, and what has become of it so far."""

    id: UUID
    customer_id: str
    items: list[OrderLine]
    total_amount: Decimal
    status: str
    error_message: str | None
    created_at: datetime
    updated_at: datetime


# The ORM would run two queries and build the text of both each time, which makes a GET take four times the CPU.
_READ = """
    SELECT id, customer_id, (
               SELECT json_agg(json_build_array(product_id, quantity, price::text) ORDER BY position)::text
               FROM orders_orderitem WHERE order_id = placed.id
           ), total_amount, status, error_message, created_at, updated_at
    FROM orders_order AS placed WHERE id = %s::uuid"""


def read_order(order_id: UUID) -> OrderState | None:
    """The order and its state now; None when there is no such order."""
    for id_, customer_id, items, *state in execute_prepared(_READ, [order_id]):
        lines = [
            OrderLine(product_id=product_id, quantity=quantity, price=Decimal(price))
            for product_id, quantity, price in orjson.loads(items or "[]")
        ]
        return OrderState(id_, customer_id, lines, *state)
    return None


def order_created(new: NewOrder, created_at: datetime) -> OrderCreated:
    """The order with its new id, as it is announced, kept and answered."""
    return OrderCreated(
        order_id=uuid7(),
        customer_id=new.customer_id,
        items=new.lines,
        total_amount=new.total_amount,
        created_at=created_at,
    )


def announcement(order: OrderCreated, correlation_id: str) -> OutgoingMessage:
    """The `order.created` of this order, with a message id of its own."""
    return OutgoingMessage(
        type=order.TYPE,
        body=order.to_json(),
        schema_version=order.SCHEMA_VERSION,
        correlation_id=correlation_id,
    )


def as_created(order: Order, items: Iterable[OrderItem]) -> OrderCreated:
    """The order as it was announced."""
    return OrderCreated(
        order_id=order.id,
        customer_id=order.customer_id,
        items=[OrderLine(product_id=item.product_id, quantity=item.quantity, price=item.price) for item in items],
        total_amount=order.total_amount,
        created_at=order.created_at,
    )


def digest(new: NewOrder) -> bytes:
    """The same bytes for orders that mean the same, however written in JSON: 46, 46.0 and 46.00 are one price."""
    ordered = [new.customer_id, [[line.product_id, line.quantity, f"{line.price:.2f}"] for line in new.lines]]
    return hashlib.sha256(orjson.dumps(ordered)).digest()


# What `_PLACE` and `batches._PLACE` have in common: they insert the rows of the orders in `new`, which has the columns
# order_id, event, owner, created_at, correlation_id, key and digest. The rows are made from the announcement, so what
# is announced is what is kept.
KEEP_NEW = """
    placed AS (
        INSERT INTO orders_order (id, placed_by_id, customer_id, total_amount, status, created_at, updated_at,
                                  correlation_id, idempotency_key, request_digest)
        SELECT order_id, owner, event->>'customer_id', (event->>'total_amount')::numeric, 'pending', created_at,
               created_at, correlation_id, key, digest
        FROM new
    ), lines AS (
        INSERT INTO orders_orderitem (order_id, position, product_id, quantity, price)
        SELECT order_id, number - 1, item->>'product_id', (item->>'quantity')::integer, (item->>'price')::numeric
        FROM new, jsonb_array_elements(event->'items') WITH ORDINALITY AS items (item, number)
    )"""

# All of an order in one statement, and so in one transaction and one round trip. Until the statement ends, the lock
# marks the key as being worked on, so that a second request with the key need not wait.
_PLACE = f"""
    WITH new AS MATERIALIZED (
        SELECT (event->>'order_id')::uuid AS order_id, (event->>'created_at')::timestamptz AS created_at, *
        FROM (SELECT %s::jsonb AS event, %s::bigint AS owner, %s::text AS correlation_id,
                     %s::text AS key, %s::bytea AS digest, %s::bigint AS lock) AS given
        WHERE lock IS NULL OR pg_try_advisory_xact_lock(lock)
    ), {KEEP_NEW}
    {outbox.ADD_ONE} FROM new RETURNING id"""


def _write(
    order: OrderCreated, placed_by: "User | None", idempotency_key: str | None, request_digest: bytes | None
) -> None:
    """Commits the order and its announcement. Raises IdempotencyKeyInUse, and IntegrityError for a known key."""
    owner = placed_by.pk if placed_by else None
    lock = None if idempotency_key is None else lock_of_key("orders", owner, idempotency_key)
    message = announcement(order, current_correlation_id())
    kept = (message.body.decode(), owner, message.correlation_id, idempotency_key, request_digest, lock)
    if not execute_prepared(_PLACE, (*kept, *outbox.row(message))):
        raise IdempotencyKeyInUse


def lock_of_key(scope: str, owner: int | None, idempotency_key: str) -> int:
    """The number of the lock that stands for this key. The same key in another scope is another key."""
    return int.from_bytes(hashlib.sha256(f"{scope}:{owner or ''}:{idempotency_key}".encode()).digest()[:8], signed=True)


def _violates(error: IntegrityError, constraint: str) -> bool:
    diagnostics = getattr(error.__cause__, "diag", None)
    return diagnostics is not None and diagnostics.constraint_name == constraint


def is_known(kept: type[Order] | type[OrderBatch], placed_by: "User | None", idempotency_key: str) -> bool:
    """Whether an order, or a batch, of this owner has the key. Does not see what another request has not committed."""
    return kept.objects.filter(placed_by=placed_by, idempotency_key=idempotency_key).exists()


def _replay(placed_by: "User | None", idempotency_key: str, request_digest: bytes | None) -> Placed:
    order = Order.objects.get(placed_by=placed_by, idempotency_key=idempotency_key)
    if order.request_digest is None or bytes(order.request_digest) != request_digest:
        raise IdempotencyKeyReused
    _count_replay(order.id)
    logger.info("order replayed", extra={"order_id": str(order.id)})
    return Placed(order=as_created(order, order.items.all()), replayed=True)


# Skips a locked row: the client waits for its answer, and the count is only informative.
_COUNT_REPLAY = """
    UPDATE orders_order SET replays = replays + 1, last_replayed_at = clock_timestamp()
    WHERE id = (SELECT id FROM orders_order WHERE id = %s FOR NO KEY UPDATE SKIP LOCKED)"""


def _count_replay(order_id: UUID) -> None:
    """Counts that the order was sent again. Never waits: two at the same moment may count as one."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNT_REPLAY, [order_id])


# One walk of the primary key, whatever the planner believes about the table. Its statistics never know how many orders
# are pending, so there is no join to plan (the planner would compare each verdict with each order) and no
# `status = 'pending'` (it would read all pending orders for each batch). Sorted ids make two batches that overlap lock
# their rows in the same order. Most orders are completed, so each row is looked up among the failed ones only.
_RECORD = """
    UPDATE orders_order
    SET status = CASE WHEN array_position(%(failed)s::uuid[], id) IS NULL THEN 'completed' ELSE 'failed' END,
        error_message = (%(errors)s::text[])[array_position(%(failed)s::uuid[], id)],
        updated_at = %(now)s::timestamptz
    WHERE id = ANY (%(ids)s::uuid[]) AND status NOT IN ('completed', 'failed')
    RETURNING id, created_at"""


def record_results(messages: Sequence[Message[OrderProcessed]]) -> None:
    """Sets the status of the orders that the processor has decided: once, and only from pending.

    A later verdict changes nothing; one that contradicts is logged as a warning. Raises PermanentError for an order
    that does not exist: orders are committed before they are announced, so it never will. Runs in the caller's
    transaction; a crash before its commit leaves the orders pending, and the messages come again.
    """
    verdicts: dict[UUID, Message[OrderProcessed]] = {}
    repeated: list[Message[OrderProcessed]] = []
    for message in messages:
        if verdicts.setdefault(message.payload.order_id, message) is not message:
            repeated.append(message)

    now = timezone.now()
    failed = [(id, reason) for id, message in verdicts.items() if (reason := _reason(message.payload)) is not None]
    values = {
        "now": now,
        "ids": array("uuid", sorted(verdicts)),
        "failed": array("uuid", [id for id, _ in failed]),
        "errors": array("text", [reason for _, reason in failed]),
    }
    accepted_at: dict[UUID, datetime] = dict(execute_prepared(_RECORD, values))

    unchanged = [message for id, message in verdicts.items() if id not in accepted_at]
    if unchanged or repeated:
        _compare([*unchanged, *repeated])

    def settled() -> None:
        by_status: dict[str, list[Message[OrderProcessed]]] = {}
        for id in accepted_at:
            by_status.setdefault(verdicts[id].payload.status, []).append(verdicts[id])
        observe_each(
            SECONDS_TO_FINAL, [max(0.0, (now - accepted).total_seconds()) for accepted in accepted_at.values()]
        )
        for status, group in by_status.items():
            ORDERS_FINAL.labels(status).inc(len(group))
            info_each(logger, f"order {status}", [_ids(message) for message in group])

    transaction.on_commit(settled, robust=True)


def _reason(verdict: OrderProcessed) -> str | None:
    """Why the order failed; None if it did not. A failed order always has a reason, even if the processor gave none."""
    if verdict.status == "completed":
        return None
    return verdict.error_message or "The processor gave no reason."


def _compare(messages: Sequence[Message[OrderProcessed]]) -> None:
    """Warns, after the commit, of verdicts that contradict what is kept. Raises PermanentError for unknown orders."""
    ids = {message.payload.order_id for message in messages}
    kept = {
        id: (status, error)
        for id, status, error in Order.objects.filter(id__in=ids).values_list("id", "status", "error_message")
    }
    if unknown := ids - kept.keys():
        raise PermanentError(f"no such order: {', '.join(map(str, sorted(unknown)))}")

    def settled() -> None:
        for message in messages:
            status, error = kept[message.payload.order_id]
            if (message.payload.status, _reason(message.payload)) != (status, error):
                logger.warning(
                    "order is already %s; a contradicting event was ignored",
                    status,
                    extra={**_ids(message), "kept_status": status, "ignored_status": message.payload.status},
                )

    transaction.on_commit(settled, robust=True)


def _ids(message: Message[OrderProcessed]) -> dict[str, Any]:
    return {
        "order_id": message.payload.order_id,
        "message_id": message.id,
        "correlation_id": message.correlation_id,
    }
