"""Dead letters as operators see them."""

import uuid
from contextlib import suppress
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from desk.admin import RecentValuesFilter
from desk.badges import Kind, badge
from desk.display import one_line, to_the_second
from desk.links import row_link
from messaging.admin.bodies import BodyAdmin
from messaging.admin.editing import EditingAdmin
from messaging.admin.filters import ErrorTypeFilter, TypeFilter, WantedFilter
from messaging.admin.settling import SettlingAdmin
from messaging.failure_groups import type_in_words
from messaging.models import DeadLetter, FailureGroup, OperatorAction, ReplayedMessage

SEARCHED_TEXTS = 10_000
"""Error texts have no index: only those of this many dead letters, the newest, are searched."""
SHOWN_HISTORY = 50

STATUS_KINDS: dict[DeadLetter.Status, Kind] = {
    DeadLetter.Status.WAITING: "waiting",
    DeadLetter.Status.REPLAYED: "good",
    DeadLetter.Status.SUPERSEDED: "quiet",
    DeadLetter.Status.DISCARDED: "quiet",
}


class StatusFilter(WantedFilter):
    title = "status"
    parameter_name = "status__exact"
    wanted = DeadLetter.Status.WAITING

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [*DeadLetter.Status.choices, ("all", "All")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> QuerySet[DeadLetter]:
        return queryset if self.value() == "all" else queryset.filter(status=self.value())


class GroupFilter(admin.SimpleListFilter):
    """Those of one failure group: offers the groups of the newest dead letters, and the one that is chosen."""

    title = "failure group"
    parameter_name = "group__id__exact"
    recent = 1000

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        newest = DeadLetter.objects.order_by(*model_admin.newest_first).values_list("group", flat=True)
        ids = set(newest[: self.recent])
        if (chosen := self._chosen()) is not None:
            ids.add(chosen)
        groups = FailureGroup.objects.filter(pk__in=ids).order_by("error_type", "place", "type", "pk")
        return [(str(group.pk), one_line(str(group), width=200)) for group in groups]

    def has_output(self) -> bool:
        return len(self.lookup_choices) > 1 or self.value() is not None

    def queryset(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> QuerySet[DeadLetter]:
        chosen = self._chosen()
        return queryset if chosen is None else queryset.filter(group=chosen)

    def _chosen(self) -> int | None:
        value = self.value()
        if value is None:
            return None
        if not (value.isascii() and value.isdecimal() and len(value) < 19):
            raise IncorrectLookupParameters
        return int(value)


class QueueFilter(RecentValuesFilter):
    title = "queue"
    parameter_name = "queue"


@admin.register(DeadLetter)
class DeadLetterAdmin(SettlingAdmin, EditingAdmin, BodyAdmin):
    list_title = "Dead letters: messages that could not be handled"
    empty_list = "No dead letter waits: every message was handled, or somebody has settled it."
    not_listed = ("headers", "body", "traceback")
    newest_first = ("-last_failed_at",)
    change_form_template = "admin/messaging/deadletter/change_form.html"
    list_select_related = ("group",)
    list_display = (
        "id",
        "state",
        "last_failure",
        "type_or_none",
        "subject",
        "error",
        "attempts",
        "occurrences",
        "first_failure",
    )
    sortable_by = ("id", "last_failure")
    list_filter = (StatusFilter, GroupFilter, TypeFilter, ErrorTypeFilter, QueueFilter, "last_failed_at")
    search_fields = ("message_id",)
    search_help_text = (
        f"Id, message id, correlation id or what it is about, exactly; or a part of the error, "
        f"among the newest {SEARCHED_TEXTS:,} dead letters."
    )
    found_by = ("id", "message_id", "subject", "correlation_id")
    actions = ("dry_run_selected", "replay_selected", "discard_selected")
    fieldsets = (
        (None, {"fields": ("state", "settled", "shown_group", "error_type", "error_message", "shown_traceback")}),
        ("How often", {"fields": ("attempts", "occurrences", "first_failure", "last_failure")}),
        (
            "Message",
            {
                "fields": (
                    "shown_body", "shown_headers", "type_or_none", "subject", "message_id", "correlation_id", "queue",
                )
            },
        ),
    )  # fmt: skip

    @admin.display(description="status")
    def state(self, row: DeadLetter) -> SafeString:
        return badge(row.get_status_display(), STATUS_KINDS[DeadLetter.Status(row.status)])

    @admin.display(description="type")
    def type_or_none(self, row: DeadLetter) -> str:
        return one_line(row.type, width=255) or "untyped"

    @admin.display(description="error")
    def error(self, row: DeadLetter) -> SafeString:
        return format_html(
            "<b>{}</b><br>{}", one_line(row.error_type, width=80), one_line(row.error_message, width=100)
        )

    @admin.display(description="last failure", ordering="last_failed_at")
    def last_failure(self, row: DeadLetter) -> str:
        return to_the_second(row.last_failed_at)

    @admin.display(description="first failure")
    def first_failure(self, row: DeadLetter) -> str:
        return to_the_second(row.first_failed_at)

    @admin.display(description="settled")
    def settled(self, row: DeadLetter) -> str:
        if row.settled_at is None:
            return "not yet: it waits for somebody to replay, edit or discard it"
        return f"{row.get_status_display()} by {row.settled_by} on {to_the_second(row.settled_at)}"

    @admin.display(description="failure group")
    def shown_group(self, row: Any) -> SafeString | str:
        if row.group is None:
            return "none"
        place = row.group.place or "unknown place"
        name = one_line(f"{row.group.error_type} in {place}, {type_in_words(row.type)}", width=200)
        return row_link(row.seen_by, "messaging.failuregroup", row.group.pk, name)

    @admin.display(description="traceback")
    def shown_traceback(self, row: DeadLetter) -> SafeString:
        return format_html(
            '<pre class="desk-text" tabindex="0">{}</pre>', row.traceback or "none: it was not our code that gave it up"
        )

    def find(self, rows: QuerySet[DeadLetter], term: str) -> QuerySet[DeadLetter]:
        exact = Q(correlation_id=term) | Q(subject=term)
        if term.isdecimal():
            exact |= Q(pk=term)
        with suppress(ValueError):
            exact |= Q(message_id=uuid.UUID(term)) | Q(subject=str(uuid.UUID(term)))
        if rows.filter(exact).exists():
            return rows.filter(exact)
        # By their times, not their ids: given ids, the planner would go through the texts of all dead letters.
        times = DeadLetter.objects.order_by(*self.newest_first).values_list("last_failed_at", flat=True)
        if oldest := times[SEARCHED_TEXTS - 1 : SEARCHED_TEXTS].first():
            rows = rows.filter(last_failed_at__gte=oldest)
        return rows.filter(Q(error_message__icontains=term) | Q(error_type__icontains=term))

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        row: DeadLetter = context["original"]
        waits = row.status == DeadLetter.Status.WAITING
        more = {
            "can_replay": waits and self.has_replay_permission(request),
            "can_edit": waits and self.has_edit_permission(request),
            "can_discard": waits and self.has_discard_permission(request),
            "history": OperatorAction.objects.filter(dead_letter_id=row.pk)[:SHOWN_HISTORY],
            "replayed": ReplayedMessage.objects.filter(dead_letter_id=row.pk)
            .select_related("replay")
            .order_by("-replay_id")[:SHOWN_HISTORY],
        }
        return super().render_change_form(request, {**context, **more}, *args, **kwargs)
