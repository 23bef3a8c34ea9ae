"""What can be done with several dead letters at once, chosen in a list or by their failure group."""

import shlex
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.views.main import ERROR_FLAG, IGNORED_PARAMS, PAGE_VAR, SEARCH_VAR
from django.core.exceptions import PermissionDenied
from django.db.models import Max, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from desk.admin import ReadOnlyAdmin
from desk.display import number_of, printable
from desk.links import page_of
from messaging import dead_letters, replays
from messaging.admin.forms import DiscardForm, ReplayForm
from messaging.admin.groups import letters_url
from messaging.admin.trials import try_some
from messaging.conf import config
from messaging.models import DeadLetter, Replay

ACTION_LIMIT = 10_000
"""More chosen dead letters than this are a matter for `manage.py dead_letters`, not for one HTTP request."""
DISCARD_SECONDS = 10.0
"""A request begins no chunk after this many seconds: what is in front of the service gives it up in a minute or so."""
_OPTIONS = {"type": "type", "error_type": "error", "queue": "queue", "group__id__exact": "group"}
"""The filters of the list that `manage.py dead_letters` has too, by their parameters."""
# The status counts as none: only what waits is settled, both here and by the command.
_NO_FILTERS = {*IGNORED_PARAMS, PAGE_VAR, ERROR_FLAG, "status__exact"}


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What an action is about, fixed when it was asked for and carried by the form that confirms it."""

    rows: QuerySet[DeadLetter]
    count: int
    hidden: dict[str, Any]
    """Hidden fields of the form, which say the same again."""


class SettlingAdmin(ReadOnlyAdmin):
    """Dry run, replay and discard: first a page that asks, then what it asked about, and nothing else, is done."""

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("messaging.replay_deadletter")

    def has_discard_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("messaging.discard_deadletter")

    def get_urls(self) -> list[URLPattern]:
        return [
            path(
                "group/<int:group_id>/<slug:verb>/",
                self.admin_site.admin_view(self.group_view),
                name="messaging_deadletter_group",
            ),
            *super().get_urls(),
        ]

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
                command = _command(request, verb)
                instead = f"use {command}" if command else "go by their failure groups, however large"
                text = f"More than {ACTION_LIMIT:,} at once: {instead}, or filter further."
                self.message_user(request, text, messages.ERROR)
                return None
        hidden = {ACTION_CHECKBOX_NAME: ids[0] if ids else "", "ids": ",".join(map(str, ids))}
        # Asked for on the page of one dead letter: of the way back, only that page's query comes from outside.
        if ids and "page_query" in request.POST:
            hidden["page_query"] = query = request.POST["page_query"]
            back = reverse("admin:messaging_deadletter_change", args=[ids[0]])
        else:
            query, back = request.GET.urlencode(), reverse("admin:messaging_deadletter_changelist")
        chosen = _Chosen(DeadLetter.objects.filter(pk__in=ids), len(ids), hidden)
        return self._decide(request, chosen, verb, f"{back}?{query}" if query else back)

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
        back = letters_url(group_id)
        count = rows.count()
        if not count:
            self.message_user(request, "None of them waits any more: nothing was done.", messages.WARNING)
            return HttpResponseRedirect(back)
        chosen = _Chosen(rows, count, {"up_to": up_to})
        page = page_of(request, "messaging.failuregroup", group_id) or back
        return self._decide(request, chosen, verb, page) or HttpResponseRedirect(back)

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
        # Messages are tried only after a form was sent: a link may be followed by anything.
        trial = try_some(chosen.rows, chosen.count) if verb != "discard" and request.method == "POST" else None
        context = {
            **self.admin_site.each_context(request),
            "title": {
                "dry_run": f"Dry run of {number_of(chosen.count, 'dead letter')}",
                "replay": f"Replay {number_of(chosen.count, 'dead letter')}?",
                "discard": f"Discard {number_of(chosen.count, 'dead letter')}?",
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
        except replays.AlreadyReplayingError as error:
            self.message_user(request, str(error), messages.WARNING)
            return _to_replay(request, error.replay)
        except replays.ReplayError as error:
            self.message_user(request, str(error), messages.WARNING)
            return None
        self.message_user(
            request, f"Replay {replay.pk} of {number_of(replay.total, 'dead letter')} has begun.", messages.SUCCESS
        )
        self._tell_left(request, chosen.count - replay.total)
        return _to_replay(request, replay)

    def _discard(self, request: HttpRequest, chosen: _Chosen, *, reason: str) -> None:
        number = dead_letters.discard(
            dead_letters=chosen.rows, by=request.user.get_username(), reason=reason, within=DISCARD_SECONDS
        )
        if number:
            self.message_user(request, f"Discarded {number_of(number, 'dead letter')}.", messages.SUCCESS)
        waiting = chosen.rows.filter(status=DeadLetter.Status.WAITING).count()
        if waiting:
            still = f"{waiting:,} of them {'waits' if waiting == 1 else 'wait'} still"
            self.message_user(request, f"{still}: discard once more for the rest.", messages.WARNING)
        self._tell_left(request, chosen.count - number - waiting)

    def _tell_left(self, request: HttpRequest, left: int) -> None:
        if left > 0:
            what = (
                "was settled, or is part of another replay"
                if left == 1
                else "were settled, or are part of another replay"
            )
            self.message_user(request, f"{number_of(left, 'dead letter')} {what}, and left alone.", messages.WARNING)


def _to_replay(request: HttpRequest, replay: Replay) -> HttpResponse | None:
    """The replay's page, for those who may see it."""
    page = page_of(request, "messaging.replay", replay.pk)
    return HttpResponseRedirect(page) if page else None


def _command(request: HttpRequest, verb: str) -> str:
    """The command that does the same with all that the list is filtered to; empty where it cannot be so narrow."""
    words = ["manage.py", "dead_letters", verb.replace("_", "-"), "--all"]
    if request.GET.get(SEARCH_VAR, "").strip():
        return ""
    for name in request.GET:
        value = request.GET[name]
        if name in _OPTIONS and value == printable(value):
            words.append(f"--{_OPTIONS[name]}={value}")
        elif name not in _NO_FILTERS:
            return ""
    return shlex.join(words)


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19
