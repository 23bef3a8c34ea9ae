"""Dead letters for tests."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from messaging import dead_letters
from messaging.dead_letters import FailedMessage
from messaging.models import DeadLetter, FailureGroup

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(minutes=5)


def failed(**changes: Any) -> FailedMessage:
    given: dict[str, Any] = {
        "message_id": uuid4(),
        "type": "thing.happened",
        "queue": "things.events.v1",
        "headers": {"schema-version": 1},
        "body": b'{"number": 1}',
        "correlation_id": "request-1",
        "error_type": "InvalidMessageError",
        "error_message": "number is missing",
        "traceback": "Traceback …",
        "attempts": 6,
        "failed_at": NOON,
        "first_failed_at": NOON - timedelta(minutes=1),
    }
    return FailedMessage(**(given | changes))


def again(message: FailedMessage, **changes: Any) -> FailedMessage:
    return failed(message_id=message.message_id, body=message.body, **changes)


def stored(**changes: Any) -> DeadLetter:
    message = failed(**changes)
    dead_letters.store([message])
    return DeadLetter.objects.get(message_id=message.message_id)


def group() -> FailureGroup:
    return FailureGroup.objects.get()


def group_of(row: DeadLetter) -> int:
    assert row.group_id is not None
    return row.group_id
