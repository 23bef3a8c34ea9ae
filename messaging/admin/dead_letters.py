"""Dead letters as operators see them, and what they can do with them."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from messaging import dead_letters
from messaging.admin_support import ReadOnlyAdmin, RecentValuesFilter, TypeFilter
from messaging.conf import config
from messaging.display import one_line
from messaging.models import DeadLetter

ACTION_LIMIT = 10_000
"""More dead letters than this are a matter for `manage.py dead_letters`, not for one HTTP request."""
SEARCHED_TEXTS = 10_000
"""Error texts have no index: only those of the newest so many dead letters are searched."""


class StatusFilter(admin.SimpleListFilter):
    """What waits, unless something else is chosen; a search looks at all."""

    title = "status"
    parameter_name = "status__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [*DeadLetter.Status.choices, ("all", "All")]

    def value(self) -> str:
        return super().value() or ("all" if self.request.GET.get(SEARCH_VAR) else DeadLetter.Status.WAITING)

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        for value, title in self.lookup_choices:
            yield {
                "selected": self.value() == value,
                "query_string": changelist.get_query_string({self.parameter_name: value}),
                "display": title,
            }

    def queryset(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> QuerySet[DeadLetter]:
        return queryset if self.value() == "all" else queryset.filter(status=self.value())


class ErrorTypeFilter(RecentValuesFilter):
    title = "error type"
    parameter_name = "error_type"


class QueueFilter(RecentValuesFilter):
    title = "queue"
    parameter_name = "queue"


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    list_title = "Dead letters: messages that could not be handled"
    empty_list = "No dead letter waits: every message was handled, or somebody has settled it."
    not_listed = ("headers", "body", "traceback")
    newest_first = ("-last_failed_at",)
    change_form_template = "admin/messaging/deadletter/change_form.html"
    list_display = (
        "id",
        "state",
        "last_failure",
        "type_or_none",
        "error",
        "attempts",
        "occurrences",
        "first_failure",
    )
    sortable_by = ("id", "last_failure")
    list_filter = (StatusFilter, TypeFilter, ErrorTypeFilter, QueueFilter, "last_failed_at")
    search_fields = ("message_id",)
    search_help_text = (
        f"Id, message id or correlation id, exactly; or a part of the error, "
        f"among the newest {SEARCHED_TEXTS:,} dead letters."
    )
    actions = ("replay_selected", "discard_selected")
    fieldsets = (
        (None, {"fields": ("state", "settled", "error_type", "error_message", "shown_traceback")}),
        ("How often", {"fields": ("attempts", "occurrences", "first_failure", "last_failure")}),
        (
            "Message",
            {"fields": ("shown_body", "shown_headers", "type_or_none", "message_id", "correlation_id", "queue")},
        ),
    )

    def has_settle_permission(self, request: HttpRequest) -> bool:
        """Whoever may change dead letters may replay and discard them; nobody may edit them."""
        return request.user.has_perm("messaging.change_deadletter")

    @admin.display(description="status")
    def state(self, row: DeadLetter) -> SafeString:
        return format_html('<span class="letter-status letter-{}">{}</span>', row.status, row.get_status_display())

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
        return _to_the_second(row.last_failed_at)

    @admin.display(description="first failure")
    def first_failure(self, row: DeadLetter) -> str:
        return _to_the_second(row.first_failed_at)

    @admin.display(description="settled")
    def settled(self, row: DeadLetter) -> str:
        if row.settled_at is None:
            return "not yet: it waits for somebody to replay or discard it"
        return f"{row.get_status_display()} by {row.settled_by} on {_to_the_second(row.settled_at)}"

    @admin.display(description="traceback")
    def shown_traceback(self, row: DeadLetter) -> SafeString:
        return format_html("<pre>{}</pre>", row.traceback or "none: it was not our code that gave it up")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[DeadLetter], search_term: str
    ) -> tuple[QuerySet[DeadLetter], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        exact = Q(correlation_id=term)
        if term.isdecimal():
            exact |= Q(pk=term)
        with suppress(ValueError):
            exact |= Q(message_id=uuid.UUID(term))
        if queryset.filter(exact).exists():
            return queryset.filter(exact), False
        newest = DeadLetter.objects.order_by(*self.newest_first).values("pk")[:SEARCHED_TEXTS]
        text = Q(error_message__icontains=term) | Q(error_type__icontains=term)
        return queryset.filter(text, pk__in=newest), False

    @admin.action(description="Replay selected…", permissions=["settle"])
    def replay_selected(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse | None:
        return self._settle(request, queryset, "replay")

    @admin.action(description="Discard selected…", permissions=["settle"])
    def discard_selected(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse | None:
        return self._settle(request, queryset, "discard")

    def _settle(self, request: HttpRequest, queryset: QuerySet[DeadLetter], verb: str) -> HttpResponse | None:
        """First asks, then does it. What was asked about is what is done: the answer carries the ids."""
        if "confirmed" in request.POST:
            ids = [int(number) for number in request.POST.get("ids", "").split(",") if number.isdecimal()]
            self._settle_confirmed(request, ids, verb)
            return None
        waiting = queryset.filter(status=DeadLetter.Status.WAITING).order_by("pk")
        ids = list(waiting.values_list("pk", flat=True)[: ACTION_LIMIT + 1])
        if not ids:
            self.message_user(request, "None of them waits any more: nothing was done.", messages.WARNING)
            return None
        if len(ids) > ACTION_LIMIT:
            text = f"More than {ACTION_LIMIT:,} at once: use manage.py dead_letters {verb} --all, or filter further."
            self.message_user(request, text, messages.ERROR)
            return None
        context = {
            **self.admin_site.each_context(request),
            "title": f"{verb.capitalize()} {_count(len(ids))}?",
            "opts": self.opts,
            "media": self.media,
            "verb": verb,
            "queue": config().queue,
            "ids": ",".join(map(str, ids)),
            "first_id": ids[0],
            "examples": DeadLetter.objects.filter(pk__in=ids[:20]).defer(*self.not_listed).order_by("pk"),
            "further": len(ids) - 20,
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/messaging/deadletter/confirm.html", context)

    def _settle_confirmed(self, request: HttpRequest, ids: Sequence[int], verb: str) -> None:
        done = {"replay": "Replayed", "discard": "Discarded"}[verb]

        user_id: Any = request.user.pk

        def log(chunk: Sequence[DeadLetter]) -> None:
            LogEntry.objects.log_actions(user_id, chunk, CHANGE, f"{done}.")

        settle = {"replay": dead_letters.replay, "discard": dead_letters.discard}[verb]
        chosen = DeadLetter.objects.filter(pk__in=ids)
        number = settle(dead_letters=chosen, by=request.user.get_username(), on_settled=log)
        if number:
            self.message_user(request, f"{done} {_count(number)}.", messages.SUCCESS)
        if left := len(ids) - number:
            text = f"{_count(left)} had been settled meanwhile and {'was' if left == 1 else 'were'} left alone."
            self.message_user(request, text, messages.WARNING)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        row: DeadLetter = context["original"]
        can_settle = row.status == DeadLetter.Status.WAITING and self.has_settle_permission(request)
        return super().render_change_form(request, {**context, "can_settle": can_settle}, *args, **kwargs)


def _to_the_second(time: datetime) -> str:
    return f"{timezone.localtime(time):%Y-%m-%d %H:%M:%S}"


def _count(number: int) -> str:
    return f"{number:,} dead letter{'' if number == 1 else 's'}"
