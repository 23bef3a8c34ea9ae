"""What messaging keeps in the service's own database."""

from messaging.models.actions import OperatorAction
from messaging.models.failures import DeadLetter, FailedAttempt, FailureGroup, FailureHour
from messaging.models.replays import Replay, ReplayedMessage
from messaging.models.transport import InboxMessage, OutboxMessage, Process

__all__ = [
    "DeadLetter", "FailedAttempt", "FailureGroup", "FailureHour", "InboxMessage", "OperatorAction", "OutboxMessage",
    "Process", "Replay", "ReplayedMessage",
]  # fmt: skip
