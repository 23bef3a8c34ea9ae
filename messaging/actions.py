"""The audit trail: who did what, to what, and why."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection

from messaging.models import DeadLetter, FailureGroup, OperatorAction, Replay
from messaging.storable import storable_text

SYSTEM = "system"
"""Who did what nobody asked for, such as opening a resolved group again."""


def record(
    *,
    action: str,
    by: str,
    reason: str = "",
    dead_letters: Sequence[DeadLetter] = (),
    group: FailureGroup | None = None,
    replay: Replay | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Writes down an action, in the transaction that does it: one row for each dead letter, in one statement.

    Without dead letters it is one row for the group or the replay; without any of the three, none. Whatever else is
    given stands in every row.
    Raises RuntimeError outside a transaction, where a crash could keep the action and lose the trace of it.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("actions.record needs the transaction that does what it records")
    same: dict[str, Any] = {
        "action": action,
        "by": storable_text(by, 255),
        "reason": storable_text(reason),
        "group_id": group and group.pk,
        "replay_id": replay and replay.pk,
        "detail": dict(detail or {}),
    }
    rows = [
        OperatorAction(
            **same,
            dead_letter_id=dead_letter.pk,
            message_id=dead_letter.message_id,
            subject=dead_letter.subject,
        )
        for dead_letter in dead_letters
    ]
    if not rows and (group or replay):
        rows = [OperatorAction(**same)]
    OperatorAction.objects.bulk_create(rows)
