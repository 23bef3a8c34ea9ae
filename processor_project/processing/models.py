"""What the processor service remembers: one record for every order it has decided."""

from datetime import timedelta

from django.db import models
from django.db.models import F, Q

from contracts.events import MAX_ERROR_MESSAGE, MAX_TEXT, MONEY_DIGITS, MONEY_PLACES


class ProcessingRecord(models.Model):
    """The decision about one order.

    The order id is the primary key: whatever is delivered again, and however often, an order is decided once.
    That is why records are never deleted, `purge` included.
    """

    class Outcome(models.TextChoices):
        COMPLETED = "completed"
        FAILED = "failed"

    order_id = models.UUIDField(primary_key=True, editable=False)
    outcome = models.CharField(max_length=16, choices=Outcome)
    reason = models.CharField(
        max_length=MAX_ERROR_MESSAGE, blank=True, help_text="The business rule that the order broke; empty if none."
    )
    customer_id = models.CharField(max_length=MAX_TEXT)
    total_amount = models.DecimalField(max_digits=MONEY_DIGITS, decimal_places=MONEY_PLACES)
    item_count = models.PositiveIntegerField(help_text="How many lines the order has.")
    attempts = models.PositiveIntegerField(
        help_text="The attempt that decided it, from 1: failures count, not crashes."
    )
    message_id = models.UUIDField(help_text="The message that brought the order.")
    correlation_id = models.CharField(max_length=255, blank=True)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    order = models.JSONField(
        null=True, editable=False, help_text="The order's items and `created_at`, as they were announced."
    )
    restored_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When `reconcile` wrote this record anew: then attempts, message and times are not the first ones.",
    )

    class Meta:
        ordering = ["-finished_at", "-order_id"]
        # One index for every filter of the API and the admin. They ascend, and lists (newest first) walk backwards:
        # an index to whose end the newest rows go fills its pages, and takes little more than half the space.
        indexes = [
            models.Index(fields=["finished_at", "order_id"], name="record_recent"),
            models.Index(fields=["outcome", "finished_at", "order_id"], name="record_outcome"),
            models.Index(fields=["customer_id", "finished_at", "order_id"], name="record_customer"),
            models.Index(fields=["correlation_id"], name="record_correlation"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(outcome="completed", reason="") | (Q(outcome="failed") & ~Q(reason="")),
                name="record_failed_iff_reason",
            ),
            # PostgreSQL sorts NaN above every number, so an upper bound keeps it out.
            models.CheckConstraint(
                condition=Q(total_amount__lt=10 ** (MONEY_DIGITS - MONEY_PLACES)), name="record_total_is_a_number"
            ),
            models.CheckConstraint(condition=Q(attempts__gte=1), name="record_attempts_from_one"),
            models.CheckConstraint(condition=Q(finished_at__gte=F("started_at")), name="record_starts_before_it_ends"),
        ]

    def __str__(self) -> str:
        return str(self.order_id)

    @property
    def duration_ms(self) -> float:
        """How long the steps took, without the time the order waited in queues."""
        return (self.finished_at - self.started_at) / timedelta(milliseconds=1)
