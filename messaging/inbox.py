"""The inbox: the ids of the messages that have taken effect. The database decides, by its unique key, who is first."""

from collections.abc import Sequence
from typing import Any

from database.statements import array, execute_prepared
from messaging.message import Message

_ADMIT = """
    INSERT INTO messaging_inboxmessage (message_id, type, correlation_id, published_at)
    SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::timestamptz[])
    ON CONFLICT DO NOTHING
    RETURNING message_id"""


def admit(messages: Sequence[Message[Any]]) -> list[Message[Any]]:
    """Enters the messages and returns those that were not there yet, each id once, in the given order.

    Runs inside the transaction of their effect, before it. Another consumer that holds the same id makes this wait
    until it commits (then the message is a duplicate) or rolls back (then it is ours).
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
    new = {message_id for (message_id,) in execute_prepared(_ADMIT, columns)}
    fresh = []
    for message in messages:
        if message.id in new:
            new.discard(message.id)
            fresh.append(message)
    return fresh
