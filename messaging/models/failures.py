"""What failed: each try, the dead letters that came of it, and the groups they fall into."""

from django.db import models
from django.db.models.functions import Now


class FailedAttempt(models.Model):
    """A try that failed: a handler raised, or the broker took a message back. Nothing depends on these rows.

    They are for people to read; `purge` removes old ones.
    """

    class Step(models.TextChoices):
        PUBLISH = "publish"
        HANDLE = "handle"

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(db_default=Now())
    step = models.CharField(max_length=16, choices=Step)
    message_id = models.UUIDField()
    type = models.CharField(max_length=255, blank=True)
    subject = models.CharField(max_length=64, blank=True, help_text="The business key, where the body has one.")
    correlation_id = models.CharField(max_length=255, blank=True)
    attempt = models.PositiveIntegerField(help_text="1 is the first.")
    error_type = models.CharField(max_length=255)
    error_message = models.TextField(blank=True)
    place = models.CharField(max_length=255, blank=True, help_text="Module and function of ours that raised it.")
    fingerprint = models.UUIDField(null=True, help_text="That of its failure group.")
    retry_in = models.CharField(
        max_length=16, blank=True, help_text="The rung it waits on, like 5s; empty when it was given up."
    )
    """With `publish`, which knows no rungs and gives nothing up, how long until the relay tries it again."""

    class Meta:
        ordering = ["-at"]
        indexes = [
            models.Index(fields=["subject", "at"], name="failed_attempt_subject"),
            models.Index(fields=["correlation_id", "at"], name="failed_attempt_correlation"),
            models.Index(fields=["message_id", "at"], name="failed_attempt_message"),
            models.Index(fields=["at"], name="failed_attempt_age"),
        ]

    def __str__(self) -> str:
        return f"{self.step} {self.message_id}, attempt {self.attempt}"


class FailureGroup(models.Model):
    """Failures of one kind: the same error, from the same place of our code, with messages of the same type.

    The consumers count here what they give up; state, owner and note are for people. A group that is resolved opens
    again by itself when the same failure comes back.
    """

    class State(models.TextChoices):
        OPEN = "open"
        TAKEN = "taken", "being looked at"
        RESOLVED = "resolved"

    id = models.BigAutoField(primary_key=True)
    fingerprint = models.UUIDField(unique=True, help_text="Derived from the error's type, its place and the type.")
    error_type = models.CharField(max_length=255)
    place = models.CharField(max_length=255, blank=True, help_text="Module and function of ours that raised it.")
    type = models.CharField(max_length=255, blank=True, help_text="Of the messages.")
    sample = models.TextField(blank=True, help_text="What the newest of them said.")
    occurrences = models.PositiveBigIntegerField(default=0)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    first_release = models.CharField(max_length=64, blank=True, help_text="The release it first appeared in.")
    last_release = models.CharField(max_length=64, blank=True)
    state = models.CharField(max_length=16, choices=State, default=State.OPEN)
    owner = models.CharField(max_length=255, blank=True, help_text="Who looks at it.")
    note = models.TextField(blank=True)
    changed_at = models.DateTimeField(null=True, blank=True, help_text="When somebody last changed its state.")
    changed_by = models.CharField(max_length=255, blank=True)

    class Meta:
        ordering = ["-last_seen_at"]
        indexes = [
            models.Index(fields=["state", "-last_seen_at"], name="failure_group_state"),
            models.Index(fields=["-last_seen_at"], name="failure_group_recent"),
        ]
        verbose_name = "failure group"

    def __str__(self) -> str:
        return f"{self.error_type} in {self.place or 'unknown place'}" + (f", {self.type}" if self.type else "")


class FailureHour(models.Model):
    """How often a group's failure happened within an hour: its trend."""

    id = models.BigAutoField(primary_key=True)
    group = models.ForeignKey(FailureGroup, on_delete=models.CASCADE, db_index=False, related_name="hours")
    hour = models.DateTimeField()
    occurrences = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["hour"]
        constraints = [models.UniqueConstraint(fields=["group", "hour"], name="failure_hour_once")]

    def __str__(self) -> str:
        return f"{self.group_id} {self.hour:%Y-%m-%d %H}h"


class DeadLetter(models.Model):
    """A message that could not be handled, kept until somebody decides.

    The same message (same id, same body) that fails again is the same row with one more occurrence.
    """

    class Status(models.TextChoices):
        WAITING = "waiting"
        REPLAYED = "replayed"
        SUPERSEDED = "superseded"
        DISCARDED = "discarded"

    id = models.BigAutoField(primary_key=True)
    fingerprint = models.UUIDField(unique=True, help_text="Derived from the message id and the body.")
    message_id = models.UUIDField(db_index=True)
    type = models.CharField(max_length=255, blank=True)
    queue = models.CharField(max_length=255, help_text="The queue it could not be handled from.")
    headers = models.JSONField(default=dict)
    body = models.BinaryField()
    correlation_id = models.CharField(max_length=255, blank=True, db_index=True)
    subject = models.CharField(
        max_length=64, blank=True, db_default="", db_index=True, help_text="The business key, where the body has one."
    )
    group = models.ForeignKey(
        FailureGroup, on_delete=models.PROTECT, null=True, db_index=False, related_name="dead_letters"
    )
    error_type = models.CharField(max_length=255)
    error_message = models.TextField(blank=True)
    traceback = models.TextField(blank=True)
    attempts = models.PositiveIntegerField(default=1, help_text="How often it was tried before it was given up.")
    occurrences = models.PositiveIntegerField(default=1, help_text="How often it has come here.")
    first_failed_at = models.DateTimeField()
    last_failed_at = models.DateTimeField()
    status = models.CharField(max_length=16, choices=Status, default=Status.WAITING)
    settled_at = models.DateTimeField(null=True, blank=True)
    settled_by = models.CharField(max_length=255, blank=True)

    class Meta:
        ordering = ["-last_failed_at"]
        indexes = [
            models.Index(fields=["status", "-last_failed_at"], name="dead_letter_status"),
            models.Index(fields=["status", "settled_at"], name="dead_letter_age"),
            models.Index(fields=["-last_failed_at"], name="dead_letter_recent"),
            models.Index(fields=["group", "status", "-last_failed_at"], name="dead_letter_group"),
            models.Index(fields=["type", "-last_failed_at"], name="dead_letter_type"),
            models.Index(fields=["error_type", "-last_failed_at"], name="dead_letter_error_type"),
        ]
        verbose_name = "dead letter"
        permissions = [
            ("replay_deadletter", "Can replay dead letters"),
            ("edit_deadletter", "Can edit a dead letter and replay it"),
            ("discard_deadletter", "Can discard dead letters"),
        ]

    def __str__(self) -> str:
        return f"{self.type or 'untyped'} {self.message_id}"
