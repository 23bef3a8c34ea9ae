"""The audit trail: what operators did."""

from django.db import models
from django.db.models.functions import Now


class OperatorAction(models.Model):
    """Who did what, when, to what, and why. Written in the transaction that did it, and never changed."""

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(db_default=Now())
    by = models.CharField(max_length=255)
    action = models.CharField(max_length=32, help_text="A verb: replay, edit, discard, take, resolve, pause …")
    reason = models.TextField(blank=True)
    dead_letter_id = models.BigIntegerField(null=True, blank=True)
    group_id = models.BigIntegerField(null=True, blank=True)
    replay_id = models.BigIntegerField(null=True, blank=True)
    message_id = models.UUIDField(null=True, blank=True)
    subject = models.CharField(max_length=64, blank=True, help_text="The business key of the message.")
    detail = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering = ["-at", "-id"]
        indexes = [
            models.Index(fields=["-at", "-id"], name="operator_action_recent"),
            models.Index(fields=["subject", "at"], name="operator_action_subject"),
            models.Index(fields=["message_id"], name="operator_action_message"),
            models.Index(fields=["dead_letter_id"], name="operator_action_letter"),
            models.Index(fields=["group_id"], name="operator_action_group"),
            models.Index(fields=["replay_id"], name="operator_action_replay"),
        ]
        verbose_name = "operator action"

    def __str__(self) -> str:
        return f"{self.action} by {self.by}"
