"""An order and its items, and batches of orders. The database itself refuses what no order can be."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from uuid_utils.compat import uuid7

from contracts.events import MAX_TEXT, MONEY_DIGITS, MONEY_PLACES

# Above every amount with twelve digits. PostgreSQL sorts NaN above all numbers, so this bound keeps NaN out too.
_MONEY_END = 10 ** (MONEY_DIGITS - MONEY_PLACES)


class Order(models.Model):
    """What a customer ordered. Written once, when it is placed; only the processor's verdict changes it, once."""

    class Status(models.TextChoices):
        PENDING = "pending"
        COMPLETED = "completed"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    placed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        # The owner of an Idempotency-Key must not be deleted: a key without an owner would be everybody's.
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        db_index=False,
        related_name="orders",
        help_text="Who posted it; nobody when the API is open to all.",
    )
    customer_id = models.CharField(max_length=MAX_TEXT)
    total_amount = models.DecimalField(max_digits=MONEY_DIGITS, decimal_places=MONEY_PLACES)
    status = models.CharField(max_length=16, choices=Status, default=Status.PENDING)
    error_message = models.TextField(null=True, blank=True, help_text="Why it failed.")  # noqa: DJ001 - the API says null
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField(help_text="When the status was set; before that, when it was placed.")
    correlation_id = models.CharField(max_length=128, blank=True, help_text="Finds the logs of both services.")
    idempotency_key = models.CharField(max_length=255, null=True, blank=True)  # noqa: DJ001 - null: sent without
    request_digest = models.BinaryField(
        null=True, editable=False, help_text="SHA-256 of what was ordered; kept with an idempotency key."
    )
    replays = models.PositiveIntegerField(
        db_default=0, editable=False, help_text="How often it was sent again with its idempotency key."
    )
    last_replayed_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            # Those for lists end in the columns that sort them: a page under any filter is then one walk of one index.
            models.Index(fields=["created_at", "id"], name="order_newest"),
            models.Index(fields=["status", "created_at", "id"], name="order_status"),
            models.Index(fields=["customer_id", "created_at", "id"], name="order_customer"),
            models.Index(fields=["placed_by"], name="order_placed_by", condition=Q(placed_by__isnull=False)),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["placed_by", "idempotency_key"],
                name="order_idempotency_key",
                condition=Q(idempotency_key__isnull=False),
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                name="order_total_is_positive_money", condition=Q(total_amount__gt=0, total_amount__lt=_MONEY_END)
            ),
            models.CheckConstraint(
                name="order_status_is_known", condition=Q(status__in=["pending", "completed", "failed"])
            ),
            models.CheckConstraint(
                name="order_failed_says_why",
                condition=Q(status="failed", error_message__isnull=False)
                | (~Q(status="failed") & Q(error_message__isnull=True)),
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)


class OrderItem(models.Model):
    """One line of an order, with its place among the others."""

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="items", db_index=False)
    position = models.PositiveIntegerField(help_text="Counted from 0, as the lines were sent.")
    product_id = models.CharField(max_length=MAX_TEXT)
    quantity = models.IntegerField()
    price = models.DecimalField(max_digits=MONEY_DIGITS, decimal_places=MONEY_PLACES)

    class Meta:
        ordering = ["position"]
        verbose_name = "item"
        constraints = [
            # The index of this constraint also finds the items of an order.
            models.UniqueConstraint(fields=["order", "position"], name="order_item_position"),
            models.CheckConstraint(name="order_item_quantity_is_positive", condition=Q(quantity__gt=0)),
            models.CheckConstraint(
                name="order_item_price_is_positive_money", condition=Q(price__gt=0, price__lt=_MONEY_END)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} × {self.product_id}"


class OrderBatch(models.Model):
    """What became of a batch that came with an Idempotency-Key. Written once, together with its orders."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    placed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        # As for orders: without its owner the key would be everybody's.
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        db_index=False,
        related_name="order_batches",
        help_text="Who posted it; nobody when the API is open to all, or when it was imported.",
    )
    idempotency_key = models.CharField(max_length=255)
    request_digest = models.BinaryField(editable=False, help_text="SHA-256 of what was sent.")
    outcomes = models.JSONField(
        help_text="For each order as it was sent: its id, or the list of what is wrong with it."
    )
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["-id"]  # UUIDv7: newest first
        verbose_name_plural = "order batches"
        constraints = [
            models.UniqueConstraint(
                fields=["placed_by", "idempotency_key"], name="order_batch_idempotency_key", nulls_distinct=False
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)
