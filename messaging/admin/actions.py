"""What operators did, as they see it themselves."""

import json
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from desk.admin import ReadOnlyAdmin, RecentValuesFilter
from desk.display import one_line, printable, to_the_second
from desk.links import row_link
from messaging.admin.filters import by_message_id
from messaging.models import OperatorAction


class ActionFilter(RecentValuesFilter):
    title = "action"
    parameter_name = "action"


class ByFilter(RecentValuesFilter):
    title = "by"
    parameter_name = "by"


@admin.register(OperatorAction)
class OperatorActionAdmin(ReadOnlyAdmin):
    list_title = "Operator actions: who did what, and why. Nobody can change or delete them here"
    empty_list = "Nobody has done anything yet: no dead letter was replayed or discarded, no failure taken or resolved."
    newest_first = ("-at", "-id")
    list_display = ("time", "by", "action", "about", "message", "why")
    sortable_by = ("time",)
    list_filter = (ActionFilter, ByFilter, "at")
    search_fields = ("subject",)
    search_help_text = "Business key or message id, exactly."
    found_by = ("subject", "message_id")
    fieldsets = (
        (None, {"fields": ("time", "by", "action", "reason", "about", "message_id", "subject", "shown_detail")}),
    )

    @admin.display(description="when", ordering="at")
    def time(self, row: OperatorAction) -> str:
        return to_the_second(row.at)

    @admin.display(description="about")
    def about(self, row: Any) -> SafeString | str:
        found = (
            ("deadletter", row.dead_letter_id),
            ("failuregroup", row.group_id),
            ("replay", row.replay_id),
        )
        links = ((row_link(row.seen_by, f"messaging.{model}", pk),) for model, pk in found if pk)
        return format_html_join(SafeString("<br>"), "{}", links) or "–"

    @admin.display(description="message")
    def message(self, row: OperatorAction) -> SafeString:
        text = one_line(row.subject, width=64) or row.message_id or "–"
        return format_html('<span class="desk-mono">{}</span>', text)

    @admin.display(description="reason")
    def why(self, row: OperatorAction) -> str:
        return one_line(row.reason, width=200) or "–"

    @admin.display(description="detail")
    def shown_detail(self, row: OperatorAction) -> SafeString | str:
        if not row.detail:
            return "–"
        lines = row.detail.get("diff") if isinstance(row.detail, dict) else None
        text = "\n".join(map(str, lines)) if isinstance(lines, list) else json.dumps(row.detail, indent=2)
        return format_html('<pre class="desk-text" tabindex="0">{}</pre>', printable(text))

    def find(self, rows: QuerySet[OperatorAction], term: str) -> QuerySet[OperatorAction]:
        return rows.filter(Q(subject=term) | by_message_id(term))
