"""Failure groups as operators see them: what fails, since when, how often, and who looks at it."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from desk.admin import LightChangeList, ReadOnlyAdmin
from desk.badges import Kind, badge
from desk.display import one_line, printable
from desk.links import may_view
from messaging import failure_groups
from messaging.admin.filters import ErrorTypeFilter, TypeFilter, WantedFilter
from messaging.failure_groups import GroupChangedError
from messaging.models import FailureGroup, OperatorAction

State = FailureGroup.State

STATE_KINDS: dict[State, Kind] = {State.OPEN: "bad", State.TAKEN: "waiting", State.RESOLVED: "good"}
LIST_HOURS = 24
PAGE_HOURS = 7 * 24
SHOWN_LETTERS = 10
SHOWN_HISTORY = 50
LONGEST_NOTE = 10_000
_DO: dict[str, tuple[Callable[..., FailureGroup], str]] = {
    "take": (failure_groups.take, "You look at it now."),
    "resolve": (failure_groups.resolve, "Resolved. It opens again by itself when this failure comes back."),
    "reopen": (failure_groups.reopen, "It is open again."),
}


class StateFilter(WantedFilter):
    title = "state"
    parameter_name = "state"
    wanted = "unresolved"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("unresolved", "Not resolved, or dead letters wait"), *State.choices, ("all", "All")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[FailureGroup]) -> QuerySet[FailureGroup]:
        match self.value():
            case "all":
                return queryset
            case "unresolved":
                return queryset.filter(failure_groups.unresolved())
            case state:
                return queryset.filter(state=state)


class GroupChangeList(LightChangeList):
    """Asks once per page for what its rows show besides their own columns."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: Any = self.result_list
        ids = [row.pk for row in rows]
        waiting, trends = failure_groups.waiting(ids), failure_groups.trends(ids, hours=LIST_HOURS)
        types = failure_groups.newest_types(ids)
        for row in rows:
            row.waiting_now = waiting.get(row.pk, 0)
            row.trend = trends[row.pk]
            row.newest_type = types.get(row.pk, row.type)


@admin.register(FailureGroup)
class FailureGroupAdmin(ReadOnlyAdmin):
    list_title = "Failure groups: dead letters of one kind, by error, place in the code and type of message"
    empty_list = "No failure is open: nothing was given up, or it is resolved and none of its dead letters waits."
    newest_first = ("-last_seen_at",)
    list_display = (
        "failure",
        "shown_state",
        "waiting",
        "occurrences",
        "last_day",
        "last_seen",
        "since",
        "shown_type",
    )
    sortable_by = ("occurrences", "last_seen", "since")
    list_filter = (StateFilter, TypeFilter, ErrorTypeFilter)
    search_fields = ("error_type",)
    search_help_text = "A part of the error, of its text or of its place in the code."
    found_by = ("fingerprint",)

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("messaging.change_failuregroup")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return GroupChangeList

    @admin.display(description="failure")
    def failure(self, row: FailureGroup) -> SafeString:
        return format_html(
            '<b>{}</b><br><span class="desk-mono">{}</span><br><span class="desk-muted">{}</span>',
            one_line(row.error_type, width=80),
            one_line(row.place, width=120) or "place unknown",
            one_line(row.sample, width=100),
        )

    @admin.display(description="state")
    def shown_state(self, row: FailureGroup) -> SafeString:
        shown = badge(row.get_state_display(), STATE_KINDS[State(row.state)])
        return format_html("{}<br>{}", shown, one_line(row.owner, width=40)) if row.owner else shown

    @admin.display(description="waiting now")
    def waiting(self, row: Any) -> SafeString | str:
        if not row.waiting_now:
            return "none"
        if not may_view(row.seen_by, "messaging.deadletter"):
            return f"{row.waiting_now:,}"
        return format_html(
            '<a class="desk-link" href="{}" aria-label="{} waiting dead letters of this group">{}</a>',
            letters_url(row.pk),
            row.waiting_now,
            f"{row.waiting_now:,}",
        )

    @admin.display(description="last 24 hours")
    def last_day(self, row: Any) -> SafeString:
        return sparkline(row.trend)

    @admin.display(description="last seen", ordering="last_seen_at")
    def last_seen(self, row: FailureGroup) -> str:
        return _to_the_minute(row.last_seen_at)

    @admin.display(description="first seen, in release", ordering="first_seen_at")
    def since(self, row: FailureGroup) -> SafeString | str:
        time, release = _to_the_minute(row.first_seen_at), one_line(row.first_release, width=40)
        return format_html("{}<br>{}", time, release) if release else time

    @admin.display(description="type")
    def shown_type(self, row: Any) -> str:
        return failure_groups.type_in_words(row.newest_type)

    def find(self, rows: QuerySet[FailureGroup], term: str) -> QuerySet[FailureGroup]:
        # There are few groups: no more than kinds of failure.
        found = Q(error_type__icontains=term) | Q(place__icontains=term) | Q(sample__icontains=term)
        with suppress(ValueError):
            found |= Q(fingerprint=UUID(term))
        return rows.filter(found)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("<path:object_id>/note/", view(self.note_view), name="messaging_failuregroup_note"),
            *[
                path(f"<path:object_id>/{verb}/", view(self.decide_view), {"verb": verb},
                     name=f"messaging_failuregroup_{verb}")
                for verb in _DO
            ],
            *super().get_urls(),
        ]  # fmt: skip

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        group = self.row_of_page(request, object_id)
        if request.method != "GET":
            raise PermissionDenied
        return self._page(request, group, note=group.note)

    def decide_view(self, request: HttpRequest, object_id: str, verb: str) -> HttpResponse:
        """Takes, resolves or reopens the group, unless somebody has changed it since the page was shown."""
        group = self.row_of_page(request, object_id)
        if not self.has_decide_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            decide, done = _DO[verb]
            by, reason = request.user.get_username(), _given(request, "reason", 1000).strip()
            try:
                decide(group_id=group.pk, by=by, reason=reason, expected=_given(request, "expected", 1000))
            except GroupChangedError as error:
                self.message_user(request, str(error), messages.WARNING)
            else:
                self.message_user(request, done, messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:messaging_failuregroup_change", args=[group.pk]))

    def note_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Keeps the note. What was typed is shown again when somebody else has written one meanwhile."""
        group = self.row_of_page(request, object_id)
        if not self.has_decide_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            text = _given(request, "note", LONGEST_NOTE).replace("\r\n", "\n").strip()
            expected = _given(request, "expected", 2 * LONGEST_NOTE)
            try:
                failure_groups.note(group_id=group.pk, by=request.user.get_username(), text=text, expected=expected)
            except GroupChangedError as error:
                self.message_user(
                    request, f"{error} Both are shown below: save again what shall stay.", messages.WARNING
                )
                group.refresh_from_db()
                return self._page(request, group, note=text)
            self.message_user(request, "The note is kept.", messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:messaging_failuregroup_change", args=[group.pk]))

    def _page(self, request: HttpRequest, group: FailureGroup, *, note: str) -> HttpResponse:
        newest = failure_groups.newest_letters(group, limit=SHOWN_LETTERS)
        trend = failure_groups.trends([group.pk], hours=PAGE_HOURS)[group.pk]
        can_decide = self.has_decide_permission(request)
        context = {
            **self.admin_site.each_context(request),
            "title": f"{group.error_type} in {group.place or 'an unknown place'}",
            "opts": self.opts,
            "group": group,
            "type": failure_groups.type_in_words(newest[0].type if newest else group.type),
            "sample": printable(group.sample),
            "state_kind": STATE_KINDS[State(group.state)],
            "expected": failure_groups.seen_state(group),
            "typed_note": note,
            "longest_note": LONGEST_NOTE,
            "can_decide": can_decide,
            "can_take": can_decide and not (group.state == State.TAKEN and group.owner == request.user.get_username()),
            "can_see_letters": may_view(request, "messaging.deadletter"),
            "waiting": failure_groups.waiting([group.pk]).get(group.pk, 0),
            "letters_url": letters_url(group.pk),
            "letters": newest,
            "traceback": printable(newest[0].traceback) if newest else "",
            "trend": bars(trend),
            "trend_days": _days(PAGE_HOURS),
            "trend_sum": sum(trend),
            "history": OperatorAction.objects.filter(group_id=group.pk, dead_letter_id=None)[:SHOWN_HISTORY],
        }
        return TemplateResponse(request, "admin/messaging/failuregroup/change_form.html", context)


def letters_url(group_id: int) -> str:
    """The list of a group's dead letters that wait."""
    return f"{reverse('admin:messaging_deadletter_changelist')}?group__id__exact={group_id}"


def sparkline(trend: Sequence[int]) -> SafeString:
    """Bars for hours, small enough for a line of a table."""
    highest, width, height = max(trend, default=0), 4, 24
    label = f"{sum(trend):,} in {len(trend)} hours, at most {highest:,} in one" if highest else "none"
    drawn = format_html_join(
        "",
        '<rect x="{}" y="{}" width="{}" height="{}"/>',
        (
            (number * width, height - size, width - 1, size)
            for number, count in enumerate(trend)
            if (size := count and max(2, round(height * count / highest)))
        ),
    )
    return format_html(
        '<svg class="group-trend" role="img" aria-label="{}" viewBox="0 0 {} {}" width="{}" height="{}">{}'
        '<path d="M0 {}h{}"/></svg>',
        label, len(trend) * width, height + 1, len(trend) * width, height + 1, drawn, height + 0.5, len(trend) * width,
    )  # fmt: skip


def bars(trend: Sequence[int]) -> SafeString:
    """Bars for hours, as wide as the page, each with its time and number for whoever points at it."""
    highest, height = max(trend, default=0), 100
    now = timezone.now().astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    drawn = format_html_join(
        "",
        '<rect x="{}" y="{}" width="0.8" height="{}"><title>{}: {}</title></rect>',
        (
            (number, height - size, size, _to_the_minute(now - timedelta(hours=len(trend) - 1 - number)), f"{count:,}")
            for number, count in enumerate(trend)
            if (size := count and max(3, round(height * count / highest)))
        ),
    )
    label = f"{sum(trend):,} in {len(trend) // 24} days, at most {highest:,} in one hour" if highest else "none"
    return format_html(
        '<svg class="group-bars" role="img" aria-label="{}" viewBox="0 0 {} {}" preserveAspectRatio="none">{}</svg>',
        label, len(trend), height, drawn,
    )  # fmt: skip


def _days(hours: int) -> list[str]:
    now = timezone.localtime()
    return [f"{now - timedelta(hours=hours - 12 - 24 * day):%a %d}" for day in range(hours // 24)]


def _given(request: HttpRequest, name: str, longest: int) -> str:
    return request.POST.get(name, "").replace("\x00", "")[:longest]


def _to_the_minute(time: datetime) -> str:
    return f"{timezone.localtime(time):%Y-%m-%d %H:%M}"
