"""What has been counted for the overview, so that no look at it counts the same rows again."""

from django.db import models


class PipelineSlot(models.Model):
    """Ten seconds of the pipeline: what began in them, and what became of that. Only a copy: it can be deleted.

    `dashboard.rollup` writes it when somebody looks at the overview.
    """

    start = models.DateTimeField(primary_key=True)
    counts = models.JSONField(default=dict, help_text="How many rows have which status.")
    took = models.JSONField(default=dict, help_text="How long they took: dashboard.histogram.")
    waited = models.JSONField(default=dict, help_text="How long their messages were on the way.")
    is_open = models.BooleanField(help_text="Some have a status that is not final.")
    computed_at = models.DateTimeField()

    class Meta:
        ordering = ["start"]

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H:%M:%S}"
