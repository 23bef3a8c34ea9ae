"""What the overview of the admin says about processing records."""

from django.conf import settings
from django.http import HttpRequest

from dashboard.pipeline import Empty, Pipeline, Status
from processing.models import ProcessingRecord


def _empty(request: HttpRequest | None) -> Empty:
    return Empty(
        "No order has been decided yet. Orders come from the order service; what becomes of them shows here.",
        link=settings.ORDERS_ADMIN_URL,
        link_text="The order service says how to place one",
    )


PIPELINE = Pipeline(
    one="record",
    many="records",
    happened="decided",
    model="processing.processingrecord",
    at="finished_at",
    status="outcome",
    statuses=(
        Status(ProcessingRecord.Outcome.COMPLETED, "completed", "good"),
        Status(ProcessingRecord.Outcome.FAILED, "failed", "bad"),
    ),
    rows="""
        SELECT finished_at AS at, outcome AS status, finished_at - started_at AS took
        FROM processing_processingrecord WHERE finished_at >= %(start)s AND finished_at < %(end)s""",
    took="Time in the steps",
    waits="""
        SELECT processed_at AS at, processed_at - published_at AS took FROM messaging_inboxmessage
        WHERE processed_at >= %(start)s AND processed_at < %(end)s AND published_at IS NOT NULL""",
    waited="From published to taken up",
    exists="SELECT EXISTS (SELECT FROM processing_processingrecord)",
    empty=_empty,
)
OUTCOME_KINDS = {status.name: status.kind for status in PIPELINE.statuses}
