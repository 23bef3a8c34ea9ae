"""Replays of dead letters for tests, and what the relay and the consumer would make of them."""

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db.models.functions import Now
from django.utils import timezone

from messaging import dead_letters, replay_runner, replays
from messaging.models import (
    DeadLetter,
    FailedAttempt,
    FailureGroup,
    InboxMessage,
    OutboxMessage,
    Replay,
    ReplayedMessage,
)
from messaging.tests.letters import LATER, failed

Outcome = ReplayedMessage.Outcome


def every() -> Any:
    return DeadLetter.objects.all()


def letters(number: int) -> list[DeadLetter]:
    dead_letters.store([failed() for _ in range(number)])
    return list(every().order_by("pk"))


def grouped(*rows: DeadLetter, error_type: str = "InvalidMessageError") -> FailureGroup:
    """Puts the dead letters into one group of their own."""
    group = FailureGroup.objects.create(
        fingerprint=uuid4(), error_type=error_type, first_seen_at=timezone.now(), last_seen_at=timezone.now()
    )
    DeadLetter.objects.filter(pk__in=[row.pk for row in rows]).update(group=group)
    return group


def started(**values: Any) -> Replay:
    return replays.start(dead_letters=every(), by="anna", **values)


def on_its_way() -> list[UUID]:
    """What was sent since the last look, as if the relay had taken it."""
    sent = list(OutboxMessage.objects.order_by("id").values_list("message_id", flat=True))
    OutboxMessage.objects.all().delete()
    return sent


def take_effect(sent: Sequence[UUID]) -> None:
    InboxMessage.objects.bulk_create([InboxMessage(message_id=message_id, type="t") for message_id in sent])


def fail_again(message_id: UUID, group: FailureGroup | None) -> None:
    letter = DeadLetter.objects.get(message_id=message_id)
    changes = failed(message_id=message_id, body=bytes(letter.body), failed_at=LATER, error_message="once more")
    dead_letters.store([changes])
    DeadLetter.objects.filter(pk=letter.pk).update(group=group)


def a_second_later() -> float:
    """Advances as if `advance` had not been called for a second, and returns how many seconds it saw at most."""
    started = time.monotonic()
    Replay.objects.filter(last_sent_at__isnull=False).update(last_sent_at=Now() - timedelta(seconds=1))
    replay_runner.advance()
    return 1 + time.monotonic() - started


def outcomes(replay: Replay) -> dict[str, int]:
    progress = replays.progress(replay)
    counts = {name: getattr(progress, name) for name in Outcome.values}
    return {name: number for name, number in counts.items() if number}


def fresh(replay: Replay) -> Replay:
    return Replay.objects.get(pk=replay.pk)


def try_again(message_id: UUID, group: FailureGroup, *, attempt: int = 1) -> None:
    FailedAttempt.objects.create(
        step="handle", message_id=message_id, attempt=attempt, error_type="TransientError", error_message="not yet",
        fingerprint=group.fingerprint, retry_in="5s",
    )  # fmt: skip
