"""The tries that failed, as operators see them: also of messages that are still on the retry ladder."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.utils.html import format_html
from django.utils.safestring import SafeString

from desk.admin import ReadOnlyAdmin, RecentValuesFilter
from desk.display import one_line, printable, to_the_second
from desk.links import row_link
from messaging.admin.filters import TypeFilter, by_message_id
from messaging.models import FailedAttempt, FailureGroup


class ErrorFilter(RecentValuesFilter):
    title = "error"
    parameter_name = "error_type"


@admin.register(FailedAttempt)
class FailedAttemptAdmin(ReadOnlyAdmin):
    list_title = "Failed attempts: each try that failed, also of messages that will be tried again"
    empty_list = "No try has failed, or purge has removed the old ones."
    newest_first = ("-at",)
    list_display = ("time", "about", "attempt", "error", "place", "next")
    sortable_by = ("time",)
    list_filter = ("step", TypeFilter, ErrorFilter, "at")
    search_fields = ("subject",)
    search_help_text = "Business key, correlation id or message id, exactly."
    fieldsets = (
        (None, {"fields": ("time", "step", "attempt", "next", "error_type", "shown_error", "place", "group")}),
        ("Message", {"fields": ("type", "subject", "message_id", "correlation_id")}),
    )

    @admin.display(description="when", ordering="at")
    def time(self, row: FailedAttempt) -> str:
        return to_the_second(row.at)

    @admin.display(description="about")
    def about(self, row: FailedAttempt) -> SafeString:
        text = one_line(row.subject, width=64) or row.message_id
        return format_html('<span class="desk-mono">{}</span>', text)

    @admin.display(description="error")
    def error(self, row: FailedAttempt) -> str:
        return one_line(f"{row.error_type}: {row.error_message}", width=200)

    @admin.display(description="what it said")
    def shown_error(self, row: FailedAttempt) -> SafeString:
        return format_html('<pre class="desk-text" tabindex="0">{}</pre>', printable(row.error_message) or "nothing")

    @admin.display(description="then")
    def next(self, row: FailedAttempt) -> str:
        return f"tried again after {row.retry_in}" if row.retry_in else "given up: a dead letter"

    @admin.display(description="failure group")
    def group(self, row: Any) -> SafeString | str:
        """There is none yet when nothing of its kind was given up."""
        found = FailureGroup.objects.filter(fingerprint=row.fingerprint).first() if row.fingerprint else None
        if found is None:
            return "none yet: nothing that failed in this way was given up"
        return row_link(row.seen_by, "messaging.failuregroup", found.pk, one_line(str(found), width=200))

    def find(self, rows: QuerySet[FailedAttempt], term: str) -> QuerySet[FailedAttempt]:
        return rows.filter(Q(subject=term) | Q(correlation_id=term) | by_message_id(term))
