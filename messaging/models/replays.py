"""Replays: sets of dead letters that are sent again step by step, and what became of each message."""

from django.db import models
from django.db.models.functions import Now

from messaging.models.failures import FailureGroup


class Replay(models.Model):
    """Dead letters to be sent again, fixed when it was asked for. The consumers carry it out; anybody may stop it."""

    class State(models.TextChoices):
        RUNNING = "running"
        PAUSED = "paused"
        STOPPED = "stopped", "stopped by itself"
        CANCELLED = "cancelled"
        FINISHED = "finished"

    id = models.BigAutoField(primary_key=True)
    created_at = models.DateTimeField(db_default=Now())
    created_by = models.CharField(max_length=255)
    reason = models.TextField(blank=True)
    canary = models.BooleanField(default=True, help_text="First 1, then 5, then 25, and only then the rest.")
    rate = models.PositiveIntegerField(default=50, help_text="Messages a second, once the canary has passed.")
    total = models.PositiveIntegerField()
    state = models.CharField(max_length=16, choices=State, default=State.RUNNING)
    state_reason = models.TextField(blank=True, help_text="Why it is in this state.")
    changed_at = models.DateTimeField(db_default=Now(), help_text="When its state changed.")
    canary_from = models.DateTimeField(
        db_default=Now(), help_text="When the canary began: at the start, and anew whenever it is resumed after a stop."
    )
    last_sent_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    watched = models.BooleanField(
        default=True, help_text="Whether the consumers have still something to send, or to find out, for it."
    )

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["id"], name="replay_watched", condition=models.Q(watched=True)),
        ]

    def __str__(self) -> str:
        return f"Replay {self.pk} of {self.total} dead letters"


class ReplayedMessage(models.Model):
    """One message of a replay, and what became of it."""

    class Outcome(models.TextChoices):
        WAITING = "waiting", "not sent yet"
        SENT = "sent", "sent, on its way"
        HANDLED = "handled"
        FAILED = "failed", "failed again"
        SKIPPED = "skipped"

    id = models.BigAutoField(primary_key=True)
    replay = models.ForeignKey(Replay, on_delete=models.CASCADE, db_index=False, related_name="messages")
    position = models.PositiveIntegerField(help_text="Counted from 0.")
    dead_letter_id = models.BigIntegerField(help_text="It may be purged before this row.")
    message_id = models.UUIDField()
    subject = models.CharField(max_length=64, blank=True)
    group = models.ForeignKey(FailureGroup, on_delete=models.SET_NULL, null=True, db_index=False, related_name="+")
    occurrences = models.PositiveIntegerField(default=0, help_text="How often it had failed when it was sent.")
    outcome = models.CharField(max_length=16, choices=Outcome, default=Outcome.WAITING)
    detail = models.TextField(blank=True, help_text="The error, or why it was skipped.")
    sent_at = models.DateTimeField(null=True, blank=True)
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["replay", "position"]
        constraints = [models.UniqueConstraint(fields=["replay", "position"], name="replayed_message_position")]
        indexes = [
            models.Index(fields=["replay", "outcome", "position"], name="replayed_message_outcome"),
            models.Index(fields=["subject"], name="replayed_message_subject"),
            models.Index(fields=["dead_letter_id"], name="replayed_message_letter"),
            models.Index(fields=["group"], name="replayed_message_group"),  # for whoever removes the group
        ]

    def __str__(self) -> str:
        return f"{self.message_id} in replay {self.replay_id}"
