"""Dead letters as operators see them, and what they can do with them."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import Max, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from messaging import actions, dead_letters, dry_run, editing, replays
from messaging.admin.forms import DiscardForm, EditForm, ReplayForm, SendForm
from messaging.admin_support import ReadOnlyAdmin, RecentValuesFilter, TypeFilter, badge
from messaging.conf import config
from messaging.display import SHOWN_IN_FULL, one_line, readable_size
from messaging.dry_run import DryRun, Verdict
from messaging.models import DeadLetter, FailureGroup, OperatorAction, Replay, ReplayedMessage

ACTION_LIMIT = 10_000
"""More chosen dead letters than this are a matter for `manage.py dead_letters`, not for one HTTP request."""
SEARCHED_TEXTS = 10_000
"""Error texts have no index: only those of the newest so many dead letters are searched."""
DRY_RUNS = 25
DRY_RUN_SECONDS = 10.0
"""A page tries no more messages than this, and begins none after so long."""
SHOWN_HISTORY = 50

STATUS_KINDS = {
    DeadLetter.Status.WAITING: "waiting",
    DeadLetter.Status.REPLAYED: "good",
    DeadLetter.Status.SUPERSEDED: "quiet",
    DeadLetter.Status.DISCARDED: "quiet",
}
VERDICT_KINDS = {
    Verdict.PASSES: "good",
    Verdict.FAILS: "bad",
    Verdict.EFFECTIVE: "quiet",
    Verdict.UNKNOWN: "waiting",
}


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


class GroupFilter(admin.SimpleListFilter):
    """Those of one failure group: of the newest dead letters' groups, or of the one that is chosen."""

    title = "failure group"
    parameter_name = "group__id__exact"
    recent = 1000

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        newest = DeadLetter.objects.order_by(*model_admin.newest_first).values_list("group", flat=True)
        ids = set(newest[: self.recent])
        if (chosen := self._chosen()) is not None:
            ids.add(chosen)
        groups = FailureGroup.objects.filter(pk__in=ids).order_by("error_type", "place", "pk")
        return [(str(group.pk), one_line(str(group), width=100)) for group in groups]

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


class ErrorTypeFilter(RecentValuesFilter):
    title = "error type"
    parameter_name = "error_type"


class QueueFilter(RecentValuesFilter):
    title = "queue"
    parameter_name = "queue"


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What an action is about, fixed when it was asked for and carried by the form that confirms it."""

    rows: QuerySet[DeadLetter]
    count: int
    hidden: dict[str, Any]
    """Fields of the form that say the same again."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A dry run for a page."""

    runs: Sequence[tuple[DryRun, str]]
    """Each with the kind of its badge."""
    not_tried: int

    @property
    def summary(self) -> str:
        counts = {verdict: sum(run.verdict == verdict for run, _ in self.runs) for verdict in Verdict}
        return ", ".join(f"{number} {verdict}" for verdict, number in counts.items() if number) or "none was tried"


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
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

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("messaging.replay_deadletter")

    def has_edit_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("messaging.edit_deadletter")

    def has_discard_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("messaging.discard_deadletter")

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
        return _to_the_second(row.last_failed_at)

    @admin.display(description="first failure")
    def first_failure(self, row: DeadLetter) -> str:
        return _to_the_second(row.first_failed_at)

    @admin.display(description="settled")
    def settled(self, row: DeadLetter) -> str:
        if row.settled_at is None:
            return "not yet: it waits for somebody to replay, edit or discard it"
        return f"{row.get_status_display()} by {row.settled_by} on {_to_the_second(row.settled_at)}"

    @admin.display(description="failure group")
    def shown_group(self, row: DeadLetter) -> SafeString | str:
        if row.group is None:
            return "none"
        url = reverse("admin:messaging_failuregroup_change", args=[row.group.pk], current_app=self.admin_site.name)
        return format_html('<a class="desk-link" href="{}">{}</a>', url, one_line(str(row.group), width=200))

    @admin.display(description="traceback")
    def shown_traceback(self, row: DeadLetter) -> SafeString:
        return format_html(
            '<pre class="desk-text" tabindex="0">{}</pre>', row.traceback or "none: it was not our code that gave it up"
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[DeadLetter], search_term: str
    ) -> tuple[QuerySet[DeadLetter], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        exact = Q(correlation_id=term) | Q(subject=term)
        if term.isdecimal():
            exact |= Q(pk=term)
        with suppress(ValueError):
            exact |= Q(message_id=uuid.UUID(term)) | Q(subject=str(uuid.UUID(term)))
        if queryset.filter(exact).exists():
            return queryset.filter(exact), False
        newest = DeadLetter.objects.order_by(*self.newest_first).values("pk")[:SEARCHED_TEXTS]
        text = Q(error_message__icontains=term) | Q(error_type__icontains=term)
        return queryset.filter(text, pk__in=newest), False

    # --- What can be done with several: dry run, replay, discard

    @admin.action(description="Dry run", permissions=["replay"])
    def dry_run_selected(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse | None:
        return self._ask(request, queryset, "dry_run")

    @admin.action(description="Replay…", permissions=["replay"])
    def replay_selected(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse | None:
        return self._ask(request, queryset, "replay")

    @admin.action(description="Discard…", permissions=["discard"])
    def discard_selected(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse | None:
        return self._ask(request, queryset, "discard")

    def _ask(self, request: HttpRequest, queryset: QuerySet[DeadLetter], verb: str) -> HttpResponse | None:
        """First asks, then does it. What was asked about is what is done: the answer carries the ids."""
        if "ids" in request.POST:
            ids = [int(number) for number in request.POST["ids"].split(",") if _is_id(number)][:ACTION_LIMIT]
        else:
            waiting = queryset.filter(status=DeadLetter.Status.WAITING).order_by("pk")
            ids = list(waiting.values_list("pk", flat=True)[: ACTION_LIMIT + 1])
            if not ids:
                self.message_user(request, "None of them waits any more: nothing was done.", messages.WARNING)
                return None
            if len(ids) > ACTION_LIMIT:
                text = (
                    f"More than {ACTION_LIMIT:,} at once: use manage.py dead_letters {verb} --all, or filter further."
                )
                self.message_user(request, text, messages.ERROR)
                return None
        hidden = {ACTION_CHECKBOX_NAME: ids[0] if ids else "", "ids": ",".join(map(str, ids))}
        chosen = _Chosen(DeadLetter.objects.filter(pk__in=ids), len(ids), hidden)
        return self._decide(request, chosen, verb, reverse("admin:messaging_deadletter_changelist"))

    def group_view(self, request: HttpRequest, group_id: int, verb: str) -> HttpResponse:
        """The same for all that wait in a failure group, however many there are."""
        if verb not in ("dry_run", "replay", "discard"):
            raise Http404
        allowed = self.has_discard_permission if verb == "discard" else self.has_replay_permission
        if not (self.has_view_permission(request) and allowed(request)):
            raise PermissionDenied
        rows = DeadLetter.objects.filter(group=group_id, status=DeadLetter.Status.WAITING)
        newest = request.POST.get("up_to", "")
        # What comes later was not asked about.
        up_to = int(newest) if _is_id(newest) else rows.aggregate(newest=Max("pk"))["newest"]
        rows = rows.filter(pk__lte=up_to or 0)
        back = f"{reverse('admin:messaging_deadletter_changelist')}?group__id__exact={group_id}"
        count = rows.count()
        if not count:
            self.message_user(request, "None of them waits any more: nothing was done.", messages.WARNING)
            return HttpResponseRedirect(back)
        chosen = _Chosen(rows, count, {"up_to": up_to})
        return self._decide(request, chosen, verb, back) or HttpResponseRedirect(back)

    def _decide(self, request: HttpRequest, chosen: _Chosen, verb: str, back: str) -> HttpResponse | None:
        form: forms.Form | None = None
        confirmed = "confirmed" in request.POST
        if verb == "replay":
            form = ReplayForm(request.POST if confirmed else None, initial={"canary": chosen.count > 1})
        elif verb == "discard":
            form = DiscardForm(request.POST if confirmed else None)
        if form is not None and confirmed and form.is_valid():
            do = self._replay if verb == "replay" else self._discard
            return do(request, chosen, **form.cleaned_data)
        examples = chosen.rows.order_by("pk").defer(*self.not_listed)
        # Only a form tries messages: a link may be followed by anything.
        trial = _try(chosen.rows, chosen.count) if verb != "discard" and request.method == "POST" else None
        context = {
            **self.admin_site.each_context(request),
            "title": {
                "dry_run": f"Dry run of {_count(chosen.count)}",
                "replay": f"Replay {_count(chosen.count)}?",
                "discard": f"Discard {_count(chosen.count)}?",
            }[verb],
            "opts": self.opts,
            "verb": verb,
            "form": form,
            "queue": config().queue,
            "hidden": chosen.hidden,
            "by_ids": "ids" in chosen.hidden,
            "examples": examples[:20],
            "further": chosen.count - 20,
            "trial": trial,
            "back": back,
            "may_replay": self.has_replay_permission(request),
        }
        return TemplateResponse(request, "admin/messaging/deadletter/confirm.html", context)

    def _replay(self, request: HttpRequest, chosen: _Chosen, **how: Any) -> HttpResponse | None:
        try:
            replay = replays.start(dead_letters=chosen.rows, by=request.user.get_username(), **how)
        except replays.AlreadyReplaying as error:
            self.message_user(request, str(error), messages.WARNING)
            return HttpResponseRedirect(_replay_url(error.replay))
        except replays.ReplayError as error:
            self.message_user(request, str(error), messages.WARNING)
            return None
        self.message_user(request, f"Replay {replay.pk} of {_count(replay.total)} has begun.", messages.SUCCESS)
        self._tell_left(request, chosen.count - replay.total)
        return HttpResponseRedirect(_replay_url(replay))

    def _discard(self, request: HttpRequest, chosen: _Chosen, *, reason: str) -> None:
        by = request.user.get_username()
        number = dead_letters.discard(
            dead_letters=chosen.rows,
            by=by,
            on_settled=lambda chunk: actions.record(action="discard", by=by, reason=reason, dead_letters=chunk),
        )
        if number:
            self.message_user(request, f"Discarded {_count(number)}.", messages.SUCCESS)
        self._tell_left(request, chosen.count - number)

    def _tell_left(self, request: HttpRequest, left: int) -> None:
        if left > 0:
            what = (
                "was settled, or is part of another replay"
                if left == 1
                else "were settled, or are part of another replay"
            )
            self.message_user(request, f"{_count(left)} {what}, and left alone.", messages.WARNING)

    # --- One: its page, and how its body is edited

    def get_urls(self) -> list[URLPattern]:
        return [
            path(
                "group/<int:group_id>/<slug:verb>/",
                self.admin_site.admin_view(self.group_view),
                name="messaging_deadletter_group",
            ),
            path(
                "<path:object_id>/edit/",
                self.admin_site.admin_view(self.edit_view),
                name="messaging_deadletter_edit",
            ),
            *super().get_urls(),
        ]

    def edit_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """First the body in a form, then what would change and what a dry run says of it; only then it is sent."""
        row = self.get_object(request, unquote(object_id))
        if not (self.has_view_permission(request, row) and self.has_edit_permission(request)):
            raise PermissionDenied
        if row is None:
            raise Http404
        page = reverse("admin:messaging_deadletter_change", args=[row.pk])
        if row.status != DeadLetter.Status.WAITING:
            self.message_user(
                request, f"It was {row.status} by {row.settled_by}: there is nothing to edit.", messages.WARNING
            )
            return HttpResponseRedirect(page)
        body = bytes(row.body)
        text = editing.editable(body) if len(body) <= SHOWN_IN_FULL else None
        if text is None:
            what = "no text" if len(body) <= SHOWN_IN_FULL else f"too long for a form ({readable_size(len(body))})"
            self.message_user(
                request, f"The body is {what}: use manage.py dead_letters edit {row.pk} --file FILE.", messages.WARNING
            )
            return HttpResponseRedirect(page)
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "title": f"Edit and replay dead letter {row.pk}",
            "opts": self.opts,
            "row": row,
            "page": page,
        }
        step = request.POST.get("step", "")
        if step == "send":
            form: EditForm = SendForm(request.POST)
            if form.is_valid() and (answer := self._send_edited(request, row, form, context)):
                return answer
            return self._show_difference(request, row, form, context)
        form = EditForm(request.POST) if step else EditForm(initial={"body": text, "seen": editing.version_of(row)})
        if step == "check" and form.is_valid():
            try:
                editing.check(row, form.cleaned_data["body"].encode())
            except editing.EditError as error:
                form.add_error("body", str(error))
            else:
                reason = SendForm(initial=form.cleaned_data)
                return self._show_difference(request, row, reason, {**context, "edited": form.cleaned_data["body"]})
        return TemplateResponse(request, "admin/messaging/deadletter/edit.html", {**context, "form": form})

    def _send_edited(
        self, request: HttpRequest, row: DeadLetter, form: EditForm, context: dict[str, Any]
    ) -> HttpResponse | None:
        given = form.cleaned_data
        try:
            editing.edit_and_replay(
                dead_letter_id=row.pk, body=given["body"].encode(), by=request.user.get_username(),
                reason=given["reason"], seen=given["seen"],
            )  # fmt: skip
        except editing.ChangedMeanwhile as error:
            self.message_user(request, str(error), messages.WARNING)
            return HttpResponseRedirect(context["page"])
        except editing.EditError as error:
            form.add_error(None, str(error))
            return None
        self.message_user(
            request, "The edited message is on its way, and the original superseded by it.", messages.SUCCESS
        )
        return HttpResponseRedirect(context["page"])

    def _show_difference(
        self, request: HttpRequest, row: DeadLetter, form: EditForm, context: dict[str, Any]
    ) -> HttpResponse:
        given: str = context.get("edited") or form.data.get("body", "").replace("\r\n", "\n")
        body = given.encode(errors="replace")
        context = {
            **context,
            "form": form,
            "lines": [(_kind_of(line), line) for line in editing.diff(bytes(row.body), body)],
            "trial": _try([editing.edited(row, body)], 1),
        }
        return TemplateResponse(request, "admin/messaging/deadletter/difference.html", context)

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


def _try(rows: QuerySet[DeadLetter] | Sequence[DeadLetter], count: int) -> Trial:
    chosen = rows.order_by("pk").defer("traceback")[:DRY_RUNS] if isinstance(rows, QuerySet) else rows
    # All of them first: the cursor of an iteration does not outlive the transactions that are undone.
    runs = dry_run.dry_run(list(chosen), within=DRY_RUN_SECONDS)
    return Trial([(run, VERDICT_KINDS[run.verdict]) for run in runs], count - len(runs))


def _kind_of(line: str) -> str:
    if line.startswith(("---", "+++", "@@")):
        return "head"
    return {"+": "added", "-": "removed"}.get(line[:1], "same")


def _replay_url(replay: Replay) -> str:
    return reverse("admin:messaging_replay_change", args=[replay.pk])


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19


def _to_the_second(time: datetime) -> str:
    return f"{timezone.localtime(time):%Y-%m-%d %H:%M:%S}"


def _count(number: int) -> str:
    return f"{number:,} dead letter{'' if number == 1 else 's'}"
