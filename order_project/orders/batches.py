"""Many orders at once. Each is checked by itself; the valid ones are placed together, or none of them is."""

import hashlib
import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from django.utils import timezone
from uuid_utils.compat import uuid7

from contracts.events import OrderCreated, OrderLine
from database.statements import array, ensure_durable, execute_prepared
from messaging import backpressure, failpoints, outbox
from observability.context import current_correlation_id
from orders import services
from orders.metrics import ORDERS_ACCEPTED
from orders.models import Order, OrderBatch, OrderItem
from orders.new_order import MAX_ORDERS_PER_BATCH, Errors, NewOrder, Refused
from orders.services import IdempotencyKeyInUse, IdempotencyKeyReused, TakesNoOrders

if TYPE_CHECKING:
    from django.contrib.auth.models import User

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PlacedBatch:
    """What became of each order, in the sequence they were sent. A placed one is as it was first answered."""

    outcomes: list[OrderCreated | Errors]
    replayed: bool

    @property
    def accepted(self) -> int:
        return sum(isinstance(outcome, OrderCreated) for outcome in self.outcomes)

    @property
    def refused(self) -> int:
        return len(self.outcomes) - self.accepted


def place_batch(
    *,
    orders: Sequence[NewOrder | Refused],
    placed_by: "User | None" = None,
    idempotency_key: str | None = None,
) -> PlacedBatch:
    """Takes the valid orders and announces each of them, all in one transaction.

    With an `idempotency_key` (unique for each `placed_by`, apart from the keys of single orders) the same batch comes
    back however often it is sent; the unique constraint decides, as it does for `place_order`. Refused orders are part
    of the batch: with them corrected it is another batch, which needs another key.

    Raises IdempotencyKeyInUse, IdempotencyKeyReused, TakesNoOrders, RuntimeError and InvalidEvent in the same cases as
    `place_order`, and ValueError for no orders or more than `MAX_ORDERS_PER_BATCH`.

    A crash before the commit leaves nothing; after it all these orders are kept and will be announced.
    """
    if not 1 <= len(orders) <= MAX_ORDERS_PER_BATCH:
        raise ValueError(f"a batch has 1 to {MAX_ORDERS_PER_BATCH} orders, not {len(orders)}")
    digest = None if idempotency_key is None else _digest(orders)
    any_valid = any(isinstance(order, NewOrder) for order in orders)
    if any_valid and (pressure := backpressure.refusing()):
        if idempotency_key is None or not services.is_known(OrderBatch, placed_by, idempotency_key):
            raise TakesNoOrders(pressure.retry_after)
        return _replay(placed_by, idempotency_key, digest)
    now = timezone.now()
    batch = PlacedBatch(
        [order.errors if isinstance(order, Refused) else services.order_created(order, now) for order in orders],
        replayed=False,
    )
    # So that an answer of 201 has a commit behind it, not a caller's open transaction.
    ensure_durable()
    if idempotency_key is not None:
        if not _write(batch, now, placed_by, idempotency_key, digest):
            return _replay(placed_by, idempotency_key, digest)
    elif any_valid:
        _write(batch, now, placed_by)
    if any_valid:
        outbox.wake_relay()
        failpoints.reach("orders.place.committed")
        ORDERS_ACCEPTED.inc(batch.accepted)
    logger.info("batch taken", extra={"accepted": batch.accepted, "refused": batch.refused})
    if logger.isEnabledFor(logging.DEBUG):
        for order in _placed(batch):
            logger.debug("order accepted", extra={"order_id": str(order.order_id), "items": len(order.items)})
    return batch


def _placed(batch: PlacedBatch) -> list[OrderCreated]:
    return [outcome for outcome in batch.outcomes if isinstance(outcome, OrderCreated)]


def _digest(orders: Sequence[NewOrder | Refused]) -> bytes:
    """The same bytes for batches that mean the same. A refused order counts as it was sent."""
    digest = hashlib.sha256()
    for order in orders:
        if isinstance(order, NewOrder):
            digest.update(services.digest(order))
        else:
            # Not orjson, which takes no integers of more than 64 bits.
            sent = json.dumps(order.sent, sort_keys=True, default=_as_no_client_can_send)
            digest.update(hashlib.sha256(sent.encode()).digest())
    return digest.digest()


def _as_no_client_can_send(value: object) -> list[Any]:
    """Keeps the number 2.505 apart from the text "2.505"."""
    return [math.nan, str(value)]


# The messages of a batch differ only in their ids and bodies.
_ANNOUNCE = outbox.ADD_ONE % ("message_id", "%s", "%s", "%s", "%s", "body", "%s")
# All of a batch in one statement, and so in one transaction and one round trip, as `services._PLACE` does for one
# order. A known key does nothing (ON CONFLICT) instead of raising: an error would leave a thousand dead rows behind
# each time somebody sends a batch again.
_PLACE = f"""
    WITH given AS MATERIALIZED (
        SELECT *, lock IS NULL OR pg_try_advisory_xact_lock(lock) AS mine
        FROM (SELECT %s::jsonb AS events, %s::timestamptz AS now, %s::bigint AS owner, %s::text AS correlation_id,
                     %s::uuid AS id, %s::text AS key, %s::bytea AS digest, %s::jsonb AS outcomes,
                     %s::bigint AS lock) AS sent
    ), batch AS (
        INSERT INTO orders_orderbatch (id, placed_by_id, idempotency_key, request_digest, outcomes, created_at)
        SELECT id, owner, key, digest, outcomes, now FROM given WHERE mine AND key IS NOT NULL
        ON CONFLICT (placed_by_id, idempotency_key) DO NOTHING
        RETURNING id
    ), free AS MATERIALIZED (
        SELECT * FROM given WHERE key IS NULL OR EXISTS (SELECT FROM batch)
    ), new AS MATERIALIZED (
        SELECT (event->>'order_id')::uuid AS order_id, event, owner, now AS created_at, correlation_id,
               NULL::text AS key, NULL::bytea AS digest
        FROM free, jsonb_array_elements(events) AS events (event)
    ), {services.KEEP_NEW}, announced AS (
        {_ANNOUNCE} FROM free, unnest(%s::uuid[], %s::bytea[]) AS messages (message_id, body)
    )
    SELECT mine, EXISTS (SELECT FROM free) FROM given"""


def _write(
    batch: PlacedBatch,
    now: datetime,
    placed_by: "User | None",
    idempotency_key: str | None = None,
    digest: bytes | None = None,
) -> bool:
    """Commits the orders and their announcements. False for a known key. Raises IdempotencyKeyInUse."""
    owner = placed_by.pk if placed_by else None
    correlation_id = current_correlation_id()
    keyed: tuple[Any, ...] = (None, None, None, None)
    if idempotency_key is not None:
        keyed = (idempotency_key, digest, _as_json(batch), services.lock_of_key("batches", owner, idempotency_key))
    messages = [services.announcement(order, correlation_id) for order in _placed(batch)]
    ids = array("uuid", [message.message_id for message in messages])
    bodies = array("bytea", [message.body for message in messages])
    # What is the same for all messages: the first one's columns without its id and body.
    same: tuple[Any, ...] = (None, None, None, None, None)
    if messages:
        _, *envelope, _, correlation = outbox.row(messages[0])
        same = (*envelope, correlation)
    events = (b"[%b]" % b",".join(message.body for message in messages)).decode()
    given = (events, now, owner, correlation_id, uuid7(), *keyed)
    ((mine, written),) = execute_prepared(_PLACE, (*given, *same, ids, bodies))
    if not mine:
        raise IdempotencyKeyInUse
    return bool(written)


def _as_json(batch: PlacedBatch) -> str:
    outcomes = (str(outcome.order_id) if isinstance(outcome, OrderCreated) else outcome for outcome in batch.outcomes)
    return orjson.dumps(list(outcomes)).decode()


def _replay(placed_by: "User | None", idempotency_key: str, digest: bytes | None) -> PlacedBatch:
    batch = OrderBatch.objects.get(placed_by=placed_by, idempotency_key=idempotency_key)
    if bytes(batch.request_digest) != digest:
        raise IdempotencyKeyReused
    orders = _as_first_answered([outcome for outcome in batch.outcomes if isinstance(outcome, str)])
    outcomes: list[OrderCreated | Errors] = [
        orders[UUID(outcome)]
        if isinstance(outcome, str)
        # jsonb has sorted the keys its own way.
        else [{"pointer": wrong["pointer"], "detail": wrong["detail"]} for wrong in outcome]
        for outcome in batch.outcomes
    ]
    logger.info("batch replayed", extra={"batch_id": str(batch.id)})
    return PlacedBatch(outcomes, replayed=True)


def _as_first_answered(ids: Sequence[str]) -> dict[UUID, OrderCreated]:
    """As `services.as_created`, but without models: making them would take longer than placing the orders again."""
    lines: dict[UUID, list[OrderLine]] = {}
    items = OrderItem.objects.filter(order_id__in=ids).order_by("order_id", "position")
    for order_id, product_id, quantity, price in items.values_list("order_id", "product_id", "quantity", "price"):
        lines.setdefault(order_id, []).append(OrderLine(product_id=product_id, quantity=quantity, price=price))
    orders = Order.objects.filter(id__in=ids).values_list("id", "customer_id", "total_amount", "created_at")
    return {
        id: OrderCreated(
            order_id=id, customer_id=customer_id, items=lines[id], total_amount=total_amount, created_at=created_at
        )
        for id, customer_id, total_amount, created_at in orders
    }
