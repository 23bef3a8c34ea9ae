"""This service's book for the ledger: its records, and how missing ones are restored."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from ledger.book import CREATED, Book, Fetch, Source, Wrong
from messaging import outbox
from processing.models import ProcessingRecord
from processing.services import Decision, announcement, insert

logger = logging.getLogger(__name__)

_RECORDS = """
    SELECT order_id AS key, order_id, outcome AS state, finished_at AS since, item_count AS lines
    FROM processing_processingrecord"""

NO_MESSAGE = UUID(int=0)
"""The message id of a restored record, which no message has brought."""


@transaction.atomic
def announce_again(order_ids: Sequence[UUID]) -> int:
    """Announces these decisions again, with new message ids. Returns how many.

    If the first message arrives after all, the order service takes the status only once, as both say the same. After a
    crash either all of them are announced or none.
    """
    records = list(ProcessingRecord.objects.defer("order").filter(order_id__in=order_ids).order_by("order_id"))
    outbox.add([announcement(record) for record in records])
    for record in records:
        transaction.on_commit(partial(_say, "result announced again", record), robust=True)
    return len(records)


def restore_records(order_ids: Sequence[UUID], fetch: Fetch) -> int:
    """Writes new records for orders that the order service knows to be final. Returns how many.

    The outcome is taken from the order. Nothing is processed again, since the steps have already taken effect. When and
    by which message the order was decided is lost; `restored_at` says so. An order whose items do not add up to its
    total gets no record: its items are missing too, and nobody has them any more. After a crash either all records are
    written or none.
    """
    orders = [order for order_id in order_ids if (order := fetch(f"/orders/{order_id}"))]
    decisions = [_decision(order) for order in orders if order["status"] != "pending" and _is_whole(order)]
    restored = insert(decisions)
    for decided in decisions:
        if decided.order_id in restored:
            _say("record restored", decided)
    return len(restored)


def _is_whole(order: Mapping[str, Any]) -> bool:
    if sum(item["quantity"] * item["price"] for item in order["items"]) == order["total_amount"]:
        return True
    what = "record cannot be restored: the order's items do not add up to its total"
    logger.warning(what, extra={"order_id": order["id"]})
    return False


def _decision(order: Mapping[str, Any]) -> Decision:
    decided_at = datetime.fromisoformat(order["updated_at"])
    return Decision(
        order_id=UUID(order["id"]),
        outcome=order["status"],
        reason=order["error_message"] or "",
        customer_id=order["customer_id"],
        total_amount=order["total_amount"],
        item_count=len(order["items"]),
        attempts=1,
        message_id=NO_MESSAGE,
        correlation_id="",
        started_at=decided_at,
        finished_at=decided_at,
        order={"items": order["items"], "created_at": order["created_at"]},
        restored_at=timezone.now(),
    )


def _say(what: str, decided: Decision | ProcessingRecord) -> None:
    logger.info(what, extra={"order_id": str(decided.order_id), "correlation_id": decided.correlation_id})


BOOK = Book(
    service="processor",
    peer="orders",
    hears=CREATED,
    source=Source("record", _RECORDS, UUID),
    announce={Wrong.PROCESSED: announce_again},
    restore={Wrong.RECORD: restore_records},
)
