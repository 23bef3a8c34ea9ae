"""What messaging keeps in the service's own database."""

from django.db import models
from django.db.models.functions import Now


class OutboxMessage(models.Model):
    """A message that its transaction has committed and the broker has not confirmed. Confirmed rows are deleted."""

    id = models.BigAutoField(primary_key=True)
    message_id = models.UUIDField(editable=False)
    type = models.CharField(max_length=255, blank=True)
    exchange = models.CharField(max_length=255)
    routing_key = models.CharField(max_length=255)
    headers = models.JSONField(default=dict)
    body = models.BinaryField()
    correlation_id = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    attempts = models.PositiveIntegerField(default=0, help_text="How often the broker returned or refused it.")
    available_at = models.DateTimeField(db_default=Now(), help_text="Not tried again before this time.")
    last_error = models.TextField(blank=True)

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["available_at", "id"], name="outbox_due")]
        verbose_name = "outbox message"

    def __str__(self) -> str:
        return f"{self.type} {self.message_id}"


class InboxMessage(models.Model):
    """A message that has taken effect. Its id is unique, so it never takes effect again."""

    message_id = models.UUIDField(primary_key=True)
    type = models.CharField(max_length=255)
    correlation_id = models.CharField(max_length=255, blank=True)
    processed_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-processed_at"]
        indexes = [models.Index(fields=["processed_at"], name="inbox_age")]
        verbose_name = "inbox message"

    def __str__(self) -> str:
        return f"{self.type} {self.message_id}"


class DeadLetter(models.Model):
    """A message that could not be handled, kept until somebody decides.

    The same message (same id, same body) that fails again is the same row with one more occurrence.
    """

    class Status(models.TextChoices):
        WAITING = "waiting"
        REPLAYED = "replayed"
        DISCARDED = "discarded"

    id = models.BigAutoField(primary_key=True)
    fingerprint = models.UUIDField(unique=True, help_text="Derived from the message id and the body.")
    message_id = models.UUIDField(db_index=True)
    type = models.CharField(max_length=255, blank=True)
    queue = models.CharField(max_length=255, help_text="The queue it could not be handled from.")
    headers = models.JSONField(default=dict)
    body = models.BinaryField()
    correlation_id = models.CharField(max_length=255, blank=True, db_index=True)
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
            models.Index(fields=["type", "-last_failed_at"], name="dead_letter_type"),
            models.Index(fields=["error_type", "-last_failed_at"], name="dead_letter_error_type"),
        ]
        verbose_name = "dead letter"

    def __str__(self) -> str:
        return f"{self.type or 'untyped'} {self.message_id}"


class Process(models.Model):
    """A relay or a consumer, as it was when it last gave a sign of life. `messaging.heartbeat` writes it."""

    name = models.CharField(max_length=255, primary_key=True, help_text="Its role, host and process id.")
    role = models.CharField(max_length=32)
    started_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now())
    progressed_at = models.DateTimeField(null=True, blank=True, help_text="When it last finished a batch.")
    circuit = models.CharField(max_length=32, blank=True, help_text="What it waits for, if anything.")
    rate = models.FloatField(null=True, blank=True, help_text="Messages per second, while it had work.")

    class Meta:
        ordering = ["role", "name"]
        verbose_name_plural = "processes"

    def __str__(self) -> str:
        return self.name
