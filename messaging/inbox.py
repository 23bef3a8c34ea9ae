"""The inbox: the ids of the messages that have taken effect. The database decides, by its unique key, who is first."""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from django.db import transaction

from database.statements import array, execute_prepared
from messaging.message import Message
from messaging.models import InboxMessage

logger = logging.getLogger(__name__)

_ADMIT = """
    INSERT INTO messaging_inboxmessage (message_id, type, correlation_id, published_at)
    SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::timestamptz[])
    ON CONFLICT DO NOTHING
    RETURNING message_id"""


def admit(messages: Sequence[Message[Any]]) -> list[Message[Any]]:
    """Enters the messages and returns those that were not there yet, each id once, in the given order.

    Runs inside the transaction of their effect, before it. Another consumer that holds the same id makes this wait
    until it commits (then the message is a duplicate) or rolls back (then it is ours). A warning is logged for each
    message that is left out because one of another type had its id.
    A crash before the commit leaves no row, and the broker delivers again.
    """
    # Sorted, so that two consumers with the same messages wait for each other instead of deadlocking.
    ordered = sorted(messages, key=lambda message: message.id)
    columns = [
        array("uuid", [m.id for m in ordered]),
        array("text", [m.type for m in ordered]),
        array("text", [m.correlation_id for m in ordered]),
        array("timestamptz", [m.published_at for m in ordered]),
    ]
    admitted = {message_id for (message_id,) in execute_prepared(_ADMIT, columns)}
    fresh, duplicates = [], []
    for message in messages:
        if message.id in admitted:
            admitted.discard(message.id)
            fresh.append(message)
        else:
            duplicates.append(message)
    if duplicates:
        _warn_of_other_types(duplicates)
    return fresh


def _warn_of_other_types(duplicates: Sequence[Message[Any]]) -> None:
    """Warns of messages that are no duplicates but have the id of another: they are lost, and the sender must know."""
    ids = [message.id for message in duplicates]
    known = dict(InboxMessage.objects.filter(message_id__in=ids).values_list("message_id", "type"))
    for message in duplicates:
        type_ = known.get(message.id, message.type)
        if type_ != message.type:
            extra = {
                "message_id": str(message.id),
                "type": message.type,
                "correlation_id": message.correlation_id,
                "reason": f"a message of type {type_!r} with the same id has taken effect",
            }
            # After the commit: a batch that fails is tried again, one by one.
            transaction.on_commit(partial(logger.warning, "message ignored for its id", extra=extra))
