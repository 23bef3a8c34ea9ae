"""Replays as operators see them: how far each is, what became of each message, and how to hold it."""

from collections.abc import Callable
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from desk.admin import ReadOnlyAdmin
from desk.badges import Kind, badge
from desk.display import one_line, to_the_second
from messaging import health, replays
from messaging.models import OperatorAction, Replay, ReplayedMessage

State = Replay.State
Outcome = ReplayedMessage.Outcome

PAGE = 50
"""How many messages are shown at once."""
REFRESH_SECONDS = 2
SHOWN_HISTORY = 50
STATE_KINDS: dict[State, Kind] = {
    State.RUNNING: "waiting",
    State.PAUSED: "waiting",
    State.STOPPED: "bad",
    State.CANCELLED: "quiet",
    State.FINISHED: "good",
}
OUTCOME_KINDS: dict[Outcome, Kind] = {
    Outcome.FAILED: "bad",
    Outcome.SENT: "waiting",
    Outcome.SKIPPED: "quiet",
    Outcome.WAITING: "quiet",
    Outcome.HANDLED: "good",
}
"""In the order in which they are shown: problems first."""
_DO: dict[str, Callable[..., None]] = {
    "pause": replays.pause, "resume": replays.resume, "cancel": replays.cancel,
}  # fmt: skip


@admin.register(Replay)
class ReplayAdmin(ReadOnlyAdmin):
    list_title = "Replays: dead letters that were sent again, and what became of them"
    empty_list = "Nothing has been replayed yet. Choose dead letters in their list, and there Replay…"
    newest_first = ("-id",)
    list_display = ("id", "shown_state", "total", "created", "created_by", "why", "how")
    sortable_by = ("id",)
    list_filter = ("state",)
    list_filter_options: ClassVar = {"state": {"label": "State", "horizontal": True}}
    search_fields = ("created_by",)
    search_help_text = "Who started it, exactly."
    found_by = ("id",)

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("messaging.replay_deadletter")

    @admin.display(description="state")
    def shown_state(self, row: Replay) -> SafeString:
        return badge(row.get_state_display(), STATE_KINDS[State(row.state)])

    @admin.display(description="started")
    def created(self, row: Replay) -> str:
        return to_the_second(row.created_at)

    @admin.display(description="reason")
    def why(self, row: Replay) -> str:
        return one_line(row.reason, width=100) or "–"

    @admin.display(description="how it stands")
    def how(self, row: Replay) -> str:
        return one_line(replays.standing(row), width=200)

    def find(self, rows: QuerySet[Replay], term: str) -> QuerySet[Replay]:
        return rows.filter(created_by=term)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("<path:object_id>/progress/", view(self.progress_view), name="messaging_replay_progress"),
            *[
                path(f"<path:object_id>/{verb}/", view(self.hold_view), {"verb": verb}, name=f"messaging_replay_{verb}")
                for verb in _DO
            ],
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        replay = self.row_of_page(request, object_id)
        if request.method != "GET":
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            **self._state_of(request, replay),
            "title": f"Replay {replay.pk}",
            "history": OperatorAction.objects.filter(replay_id=replay.pk, dead_letter_id=None)[:SHOWN_HISTORY],
            "refresh_milliseconds": REFRESH_SECONDS * 1000,
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/messaging/replay/change_form.html", context)

    def progress_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The part of the page that changes, for the script that asks again and again."""
        context = self._state_of(request, self.row_of_page(request, object_id))
        return TemplateResponse(request, "admin/messaging/replay/progress.html", context)

    def hold_view(self, request: HttpRequest, object_id: str, verb: str) -> HttpResponse:
        """Pauses, resumes or cancels the replay, unless somebody else was faster."""
        replay = self.row_of_page(request, object_id)
        if not self.has_replay_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            reason = request.POST.get("reason", "").replace("\x00", "")[:1000].strip()
            try:
                _DO[verb](replay_id=replay.pk, by=request.user.get_username(), reason=reason)
            except replays.ReplayError as error:
                self.message_user(request, str(error), messages.WARNING)
        return HttpResponseRedirect(reverse("admin:messaging_replay_change", args=[replay.pk]))

    def _state_of(self, request: HttpRequest, replay: Replay) -> dict[str, Any]:
        progress, kind = replays.progress(replay), STATE_KINDS[State(replay.state)]
        counts = {outcome: getattr(progress, outcome.value) for outcome in OUTCOME_KINDS}
        only = request.GET.get("outcome", "")
        chosen = {outcome.value: counts[outcome] for outcome in OUTCOME_KINDS if only in ("", outcome)}
        number = sum(chosen.values())
        pages = max(1, -(-number // PAGE))
        given = request.GET.get("page", "")
        page = min(max(int(given), 1), pages) if given.isascii() and given.isdecimal() and len(given) < 10 else 1
        return {
            "opts": self.opts,
            "replay": replay,
            "state_kind": "waiting" if progress.failed and kind == "good" else kind,
            "progress": progress,
            "parts": [
                {
                    "outcome": outcome,
                    "label": outcome.label,
                    "kind": kind,
                    "number": counts[outcome],
                    "percent": round(100 * counts[outcome] / max(progress.total, 1), 2),
                }
                for outcome, kind in OUTCOME_KINDS.items()
            ],
            "rows": [
                (row, OUTCOME_KINDS[Outcome(row.outcome)])
                for row in replays.page(replay, chosen, start=(page - 1) * PAGE, limit=PAGE)
            ],
            "only": only,
            "page": page,
            "pages": pages,
            "number": number,
            "is_live": replay.watched,
            "now": timezone.localtime(),
            "missing": health.missing_roles() if replay.watched else [],
            "possible": [
                verb
                for verb, states in replays.POSSIBLE.items()
                if replay.state in states and self.has_replay_permission(request)
            ],
        }
