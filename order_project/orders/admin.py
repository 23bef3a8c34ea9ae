"""Orders and batches as operators see them: what was ordered, what became of it. Nothing can be edited."""

from itertools import islice
from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from desk.admin import IndexedDates, ReadOnlyAdmin
from desk.badges import badge
from desk.display import to_the_millisecond
from desk.links import row_link
from orders.models import Order, OrderBatch
from orders.overview import STATUS_KINDS, first_order
from timeline.page import TimelineAdmin

SHOWN_ERRORS = 50
SHOWN_ITEMS = 200
"""How many lines of an order are shown; the API has them all."""


class _PlacedAdmin(ReadOnlyAdmin):
    """For the admin of what a user of the API has sent."""

    @admin.display(description="placed by")
    def sender(self, row: Any) -> SafeString | str:
        user = row.placed_by
        return row_link(row.seen_by, "auth.user", user.pk, user.get_username()) if user else "–"


@admin.register(Order)
class OrderAdmin(_PlacedAdmin, TimelineAdmin):
    list_title = "Orders: what was accepted, and what became of it"
    empty_list = "No order matches."
    newest_first = ("-created_at", "-id")
    not_listed = ("correlation_id", "idempotency_key", "request_digest")
    change_list_template = "admin/orders/order/change_list.html"
    list_display = ("id", "status_badge", "customer_id", "total_amount", "accepted_at", "timeline", "error_message")
    list_filter = ("status",)
    list_filter_options: ClassVar = {"status": {"label": "Status", "horizontal": True}}
    found_by = ("id",)
    date_hierarchy = "created_at"
    ordering = newest_first
    sortable_by = ()
    search_fields = ("id",)
    search_help_text = "The exact id of an order, or of a customer."
    fieldsets = (
        (None, {"fields": (("id", "status_badge"), "error_message", ("customer_id", "total_amount"))}),
        ("Items", {"fields": ("shown_items",)}),
        ("Timeline", {"fields": (("accepted_at", "final_at", "took"), "timeline")}),
        ("Where to look further", {"fields": ("processing_record", "correlation_id", "sender", "idempotency_key")}),
    )

    @admin.display(description="as they were sent")
    def shown_items(self, order: Order) -> SafeString:
        lines = format_html_join(
            "",
            '<tr><td class="desk-mono">{}</td><td class="desk-number">{}</td><td class="desk-number">{}</td>'
            '<td class="desk-number">{}</td></tr>',
            (
                (item.product_id, item.quantity, item.price, item.quantity * item.price)
                for item in order.items.order_by("position")[:SHOWN_ITEMS]
            ),
        )
        table = format_html(
            '<div class="desk-scroll" tabindex="0" role="region" aria-label="Items"><table class="desk-table">'
            '<thead><tr><th scope="col">Product</th><th scope="col" class="desk-number">Quantity</th>'
            '<th scope="col" class="desk-number">Price</th><th scope="col" class="desk-number">Line total</th></tr>'
            "</thead><tbody>{}</tbody></table></div>",
            lines,
        )
        further = order.items.count() - SHOWN_ITEMS
        if further <= 0:
            return table
        return format_html(
            '{}<p class="desk-muted">… and {} more: <a class="desk-link" href="{}">the API</a> has all of them.</p>',
            table,
            f"{further:,}",
            reverse("order", args=[order.pk]),
        )

    @admin.display(description="status")
    def status_badge(self, order: Order) -> SafeString:
        return badge(order.get_status_display(), STATUS_KINDS[order.status])

    @admin.display(description="accepted at")
    def accepted_at(self, order: Order) -> str:
        return to_the_millisecond(order.created_at)

    @admin.display(description="final at")
    def final_at(self, order: Order) -> str:
        return "not yet" if order.status == Order.Status.PENDING else to_the_millisecond(order.updated_at)

    @admin.display(description="took")
    def took(self, order: Order) -> str:
        """From accepted to final."""
        if order.status == Order.Status.PENDING:
            return "not yet"
        return f"{(order.updated_at - order.created_at).total_seconds():.2f} s"

    @admin.display(description="what happened")
    def timeline(self, order: Order) -> SafeString:
        return format_html('<a class="desk-link" href="{}">Timeline</a>', self.timeline_page(order.pk))

    @admin.display(description="processing record")
    def processing_record(self, order: Order) -> SafeString | str:
        if order.status == Order.Status.PENDING:
            return "not decided yet"
        url = f"{settings.PROCESSOR_ADMIN_URL}processing/processingrecord/?q={order.id}"
        return format_html('<a class="desk-link" href="{}">How the processor decided it</a>', url)

    def get_fieldsets(self, request: HttpRequest, obj: Order | None = None) -> Any:
        shown = super().get_fieldsets(request, obj)
        may_see_items = request.user.has_perm("orders.view_orderitem")
        return shown if may_see_items else [fieldset for fieldset in shown if fieldset[0] != "Items"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Order]:
        return IndexedDates(Order)

    def find(self, rows: QuerySet[Order], term: str) -> QuerySet[Order]:
        try:
            order = rows.filter(id=UUID(term))
        except ValueError:
            return rows.filter(customer_id=term)
        # A customer's id may be a UUID too. Two queries, since the planner would find no good index for an OR.
        return order if order.exists() else rows.filter(customer_id=term)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        context = {"first_order": first_order(request), **(extra_context or {})}
        return super().changelist_view(request, context)


@admin.register(OrderBatch)
class OrderBatchAdmin(_PlacedAdmin):
    list_title = "Batches of orders that came with an Idempotency-Key"
    empty_list = "No batch has come with an Idempotency-Key yet."
    newest_first = ("-id",)
    not_listed = ("request_digest", "outcomes")
    found_by = ("id",)
    list_display = ("id", "taken_at", "idempotency_key")
    ordering = newest_first
    sortable_by = ()
    fields = ("id", "taken_at", "sender", "idempotency_key", "accepted", "refused", "orders", "errors")

    @admin.display(description="taken at")
    def taken_at(self, batch: OrderBatch) -> str:
        return to_the_millisecond(batch.created_at)

    @admin.display(description="accepted")
    def accepted(self, batch: OrderBatch) -> int:
        return len(batch.outcomes) - self.refused(batch)

    @admin.display(description="refused")
    def refused(self, batch: OrderBatch) -> int:
        return sum(isinstance(outcome, list) for outcome in batch.outcomes)

    @admin.display(description="its orders")
    def orders(self, batch: Any) -> SafeString | str:
        ids = (outcome for outcome in batch.outcomes if isinstance(outcome, str))
        links = ((row_link(batch.seen_by, "orders.order", id, id),) for id in ids)
        return format_html_join(mark_safe("<br>"), "{}", links) or "none"

    @admin.display(description="what was refused")
    def errors(self, batch: OrderBatch) -> SafeString | str:
        """Each error with the place of its order in the batch, counted from 0 as in JSON Pointers."""
        wrong = (
            (f"/orders/{number}{error['pointer']}", error["detail"])
            for number, outcome in enumerate(batch.outcomes)
            if isinstance(outcome, list)
            for error in outcome
        )
        shown = format_html_join(mark_safe("<br>"), "{}: {}", islice(wrong, SHOWN_ERRORS)) or "nothing"
        further = sum(1 for _ in wrong)
        return format_html("{}<br>… and {} more", shown, f"{further:,}") if further else shown
