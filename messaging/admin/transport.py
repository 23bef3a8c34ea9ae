"""The outbox, the inbox and the processes as operators see them. All of it is only for reading."""

from datetime import datetime
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from desk.admin import ReadOnlyAdmin
from desk.badges import badge
from desk.display import duration, one_line
from messaging.admin.bodies import BodyAdmin
from messaging.admin.filters import TypeFilter, by_message_id
from messaging.models import InboxMessage, OutboxMessage, Process


class DueFilter(admin.SimpleListFilter):
    title = "next attempt"
    parameter_name = "due"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("now", "Due now"), ("later", "Refused, waits for its next attempt")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[OutboxMessage]) -> QuerySet[OutboxMessage]:
        now = timezone.now()
        match self.value():
            case "now":
                return queryset.filter(available_at__lte=now)
            case "later":
                return queryset.filter(available_at__gt=now)
            case _:
                return queryset


@admin.register(OutboxMessage)
class OutboxMessageAdmin(BodyAdmin):
    list_title = "Outbox: messages the broker has not confirmed yet"
    empty_list = "The outbox is empty: everything that was committed is on the broker."
    newest_first = ("-id",)
    # The order in which the relay takes them.
    ordering = ("available_at", "id")
    list_display = ("id", "type", "destination", "waits_for", "attempts", "next_attempt", "error")
    sortable_by = ("id",)
    list_filter = (DueFilter, TypeFilter)
    list_filter_options: ClassVar = {"due": {"label": "Next attempt", "horizontal": True}}
    search_fields = ("message_id",)
    search_help_text = "Id or message id, exactly."
    found_by = ("id",)
    fieldsets = (
        (None, {"fields": ("destination", "created_at", "waits_for", "attempts", "next_attempt", "last_error")}),
        ("Message", {"fields": ("shown_body", "shown_headers", "type", "message_id", "correlation_id")}),
    )

    @admin.display(description="goes to")
    def destination(self, row: OutboxMessage) -> str:
        return f"{row.exchange} → {row.routing_key}"

    @admin.display(description="waits for")
    def waits_for(self, row: OutboxMessage) -> str:
        return duration((timezone.now() - row.created_at).total_seconds())

    @admin.display(description="next attempt")
    def next_attempt(self, row: OutboxMessage) -> str:
        seconds = (row.available_at - timezone.now()).total_seconds()
        return f"in {duration(seconds)}" if seconds > 0 else "now"

    @admin.display(description="last error")
    def error(self, row: OutboxMessage) -> str:
        return one_line(row.last_error, width=100)

    def find(self, rows: QuerySet[OutboxMessage], term: str) -> QuerySet[OutboxMessage]:
        return rows.filter(Q(pk=term) if term.isdecimal() else by_message_id(term))


@admin.register(InboxMessage)
class InboxMessageAdmin(ReadOnlyAdmin):
    list_title = "Inbox: messages that have taken effect"
    empty_list = "The inbox is empty: no message has taken effect yet, or purge has removed the old ones."
    newest_first = ("-processed_at",)
    list_display = ("message_id", "type", "correlation_id", "processed_at")
    sortable_by = ("message_id", "processed_at")
    list_filter = (TypeFilter, "processed_at")
    search_fields = ("message_id",)
    search_help_text = "Message id, exactly."
    found_by = ("message_id",)

    def find(self, rows: QuerySet[InboxMessage], term: str) -> QuerySet[InboxMessage]:
        return rows.filter(by_message_id(term))


@admin.register(Process)
class ProcessAdmin(ReadOnlyAdmin):
    list_title = "Processes: the relays and consumers of this service"
    empty_list = "Nothing runs here: start `python manage.py relay` and `python manage.py consume`."
    newest_first = ("role", "name")
    list_display = ("name", "alive", "waits_for", "last_progress", "last_seen", "started_at", "speed")
    sortable_by = ()
    list_filter = ("role",)
    list_filter_options: ClassVar = {"role": {"label": "Role", "horizontal": True}}
    search_fields = ("name",)
    search_help_text = "Part of the name: role, host or process id."

    @admin.display(description="state")
    def alive(self, process: Process) -> SafeString:
        return badge("alive", "good") if process.is_alive else badge("gone", "bad")

    @admin.display(description="waits for")
    def waits_for(self, process: Process) -> str:
        return f"the {process.circuit}, which is away" if process.circuit else "nothing"

    @admin.display(description="last progress")
    def last_progress(self, process: Process) -> str:
        return _ago(process.progressed_at) if process.progressed_at else "never"

    @admin.display(description="last seen")
    def last_seen(self, process: Process) -> str:
        return _ago(process.seen_at)

    @admin.display(description="messages/s when busy")
    def speed(self, process: Process) -> str:
        return "–" if process.rate is None else f"{process.rate:,.0f}"

    def find(self, rows: QuerySet[Process], term: str) -> QuerySet[Process]:
        return rows.filter(name__icontains=term)


def _ago(moment: datetime) -> str:
    return f"{duration((timezone.now() - moment).total_seconds())} ago"
