"""What is on its way, what has arrived, and the processes that move it."""

from datetime import timedelta
from typing import Self

from django.db import models
from django.db.models.functions import Now
from django.utils import timezone


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
    published_at = models.DateTimeField(
        null=True, help_text="When the sender's relay sent it; not every sender says so."
    )
    processed_at = models.DateTimeField(db_default=Now(), help_text="When the transaction of its effect began.")

    class Meta:
        ordering = ["-processed_at"]
        indexes = [models.Index(fields=["processed_at"], name="inbox_age")]
        verbose_name = "inbox message"

    def __str__(self) -> str:
        return f"{self.type} {self.message_id}"


class Processes(models.QuerySet["Process"]):
    """Relays and consumers."""

    def alive(self) -> Self:
        """Those that `Process.is_alive` is true of, by the database's clock."""
        within = timedelta(seconds=Process.ALIVE_WITHIN)
        return self.filter(seen_at__gt=Now() - within, seen_at__lt=Now() + within)


class Process(models.Model):
    """A relay or a consumer, as it was when it last gave a sign of life. `messaging.heartbeat` writes it."""

    ALIVE_WITHIN = 60
    """Seconds without a sign of life after which it counts as gone."""

    name = models.CharField(max_length=255, primary_key=True, help_text="Its role, host and process id.")
    role = models.CharField(max_length=32)
    started_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now())
    progressed_at = models.DateTimeField(null=True, blank=True, help_text="When it last finished a batch.")
    circuit = models.CharField(max_length=32, blank=True, help_text="What it waits for, if anything.")
    rate = models.FloatField(null=True, blank=True, help_text="Messages per second, while it had work.")

    objects = Processes.as_manager()

    class Meta:
        ordering = ["role", "name"]
        verbose_name_plural = "processes"

    def __str__(self) -> str:
        return self.name

    @property
    def is_alive(self) -> bool:
        """Whether it has given a sign of life within the last `ALIVE_WITHIN` seconds.

        A sign further in the future than that was given before the clock was set back, with none since.
        """
        return abs(timezone.now() - self.seen_at) < timedelta(seconds=self.ALIVE_WITHIN)
