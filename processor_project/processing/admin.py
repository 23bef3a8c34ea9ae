"""Processing records as operators see them: what was decided, why, and where to look further. Nothing can be edited."""

from contextlib import suppress
from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from desk.admin import IndexedDates, ReadOnlyAdmin
from desk.badges import badge
from desk.display import to_the_millisecond
from processing.models import ProcessingRecord
from processing.overview import OUTCOME_KINDS


@admin.register(ProcessingRecord)
class ProcessingRecordAdmin(ReadOnlyAdmin):
    list_title = "Processing records: what was decided about each order"
    empty_list = "No order has been decided yet."
    newest_first = ("-finished_at", "-order_id")
    not_listed = ("message_id", "correlation_id", "order")
    change_list_template = "admin/processing/processingrecord/change_list.html"
    list_display = (
        "order_id", "outcome_badge", "finished", "reason", "customer_id", "total_amount", "attempts",
    )  # fmt: skip
    list_filter = ("outcome",)
    list_filter_options: ClassVar = {"outcome": {"label": "Outcome", "horizontal": True}}
    found_by = ("order_id",)
    date_hierarchy = "finished_at"
    ordering = newest_first
    sortable_by = ()
    search_fields = ("order_id",)
    search_help_text = "The exact id of an order or of a customer, or a correlation id."
    fieldsets = (
        (None, {"fields": ("order_id", "outcome_badge", "reason", "customer_id", "total_amount", "item_count")}),
        ("Processing", {"fields": ("attempts", "started", "finished", "took", "restored_at")}),
        ("The order as it was announced", {"fields": ("ordered", "items")}),
        ("Where to look further", {"fields": ("timeline", "order_link", "correlation_id", "message_id")}),
    )

    @admin.display(description="outcome")
    def outcome_badge(self, record: ProcessingRecord) -> SafeString:
        return badge(record.get_outcome_display(), OUTCOME_KINDS[record.outcome])

    @admin.display(description="started at")
    def started(self, record: ProcessingRecord) -> str:
        return to_the_millisecond(record.started_at)

    @admin.display(description="finished at")
    def finished(self, record: ProcessingRecord) -> str:
        return to_the_millisecond(record.finished_at)

    @admin.display(description="took")
    def took(self, record: ProcessingRecord) -> str:
        """The time that the steps took, without the time in queues."""
        return f"{record.duration_ms:.3f} ms"

    @admin.display(description="placed at")
    def ordered(self, record: ProcessingRecord) -> str:
        return record.order["created_at"] if record.order else "no copy: from before it was kept"

    @admin.display(description="items")
    def items(self, record: ProcessingRecord) -> SafeString:
        items = record.order["items"] if record.order else []
        lines = ((item["quantity"], item["product_id"], f"{item['price']:.2f}") for item in items)
        return format_html_join(mark_safe("<br>"), "{} × {} at {}", lines)

    @admin.display(description="order")
    def order_link(self, record: ProcessingRecord) -> SafeString:
        url = f"{settings.ORDERS_ADMIN_URL}orders/order/{record.order_id}/change/"
        return format_html('<a class="desk-link" href="{}">The order in the order service</a>', url)

    @admin.display(description="what happened")
    def timeline(self, record: ProcessingRecord) -> SafeString:
        url = f"{settings.ORDERS_ADMIN_URL}orders/order/{record.order_id}/timeline/"
        return format_html('<a class="desk-link" href="{}">Timeline of the order, in both services</a>', url)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ProcessingRecord]:
        return IndexedDates(ProcessingRecord)

    def find(self, rows: QuerySet[ProcessingRecord], term: str) -> QuerySet[ProcessingRecord]:
        # One query after the other, each on its own index: an OR could use none.
        questions: list[dict[str, Any]] = [{"customer_id": term}, {"correlation_id": term}]
        with suppress(ValueError):
            questions.insert(0, {"order_id": UUID(term)})
        for question in questions:
            found = rows.filter(**question)
            if found.exists():
                return found
        return rows.none()

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {"orders_admin_url": settings.ORDERS_ADMIN_URL, **(extra_context or {})}
        return super().changelist_view(request, context)
