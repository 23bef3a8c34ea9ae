"""The timeline as a page of an admin."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from desk.admin import ReadOnlyAdmin
from desk.display import duration, one_line, to_the_second
from desk.links import may_view
from messaging.conf import config
from timeline.assembly import Timeline, timeline_of
from timeline.event import SERVICES, Event

LONG = 10
"""Seconds between two steps from which on the page points out the gap."""
_FIRST_LINE = ("error", "reason", "why", "last_error")
_PAGES = {
    "order": "The order",
    "processingrecord": "Processing record",
    "outboxmessage": "Outbox message",
    "deadletter": "Dead letter",
    "failuregroup": "Failure group",
    "replay": "Replay",
}
_BADGES = {"pending": "waiting", "completed": "good", "failed": "bad"}
_WORDS = {"info": "", "good": "", "warning": "Warning", "error": "Error"}


@dataclass(frozen=True, slots=True)
class Link:
    """A link of the page from an event to more about it."""

    text: str
    url: str


@dataclass(frozen=True, slots=True)
class Row:
    """A step as the page shows it."""

    id: str
    """Stays the same whenever the page is loaded."""
    event: Event
    service: str
    """Its name for people."""
    day: str
    """The date, if it is not that of the step before; else empty."""
    clock: str
    gap: str
    is_long: bool
    word: str
    """The severity, where it matters."""
    line: str
    """The part of the detail that people want to see first."""
    detail: list[tuple[str, str]]
    link: Link | None


class TimelineAdmin(ReadOnlyAdmin):
    """Adds to the admin of a model that has timelines a page at `<id>/timeline/`, named `<app>_<model>_timeline`.

    Whoever may see the row may see it. Costs what `timeline_of` costs.
    """

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_timeline"
        view = self.admin_site.admin_view(self.timeline_view)
        return [path("<path:object_id>/timeline/", view, name=name), *super().get_urls()]

    def timeline_page(self, pk: Any) -> str:
        """The address of the timeline of this row."""
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_timeline"
        return reverse(name, args=[pk], current_app=self.admin_site.name)

    def timeline_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        row = self.row_of_page(request, object_id)
        timeline = timeline_of(row.pk)
        if timeline is None:
            raise Http404
        context = {
            **self.admin_site.each_context(request),
            **shown(timeline, request),
            "title": f"Timeline of {self.opts.verbose_name} {row.pk}",
            "model": self.opts,
            "row": row,
        }
        return TemplateResponse(request, "admin/timeline/timeline.html", context)


def shown(timeline: Timeline, request: HttpRequest) -> dict[str, Any]:
    """What the template needs of the timeline."""
    now = timezone.now()
    is_pending = timeline.status == "pending"
    since = (now - timeline.steps[-1].event.at).total_seconds() if timeline.steps else 0.0
    waits_for = timeline.waits_for
    return {
        "timeline": timeline,
        "services": SERVICES,
        "steps": list(_rows(timeline, request)),
        "badge": _BADGES[timeline.status],
        "is_pending": is_pending,
        "waits_link": _link(request, waits_for.service, waits_for.link) if waits_for else None,
        "now_clock": _clock(now),
        "now_gap": duration(since),
        "now_is_long": since >= LONG,
        "seconds": 5,
    }


def _rows(timeline: Timeline, request: HttpRequest) -> Iterator[Row]:
    seen: Counter[str] = Counter()
    day = ""
    for step in timeline.steps:
        event = step.event
        name = f"{event.kind}-{event.at.timestamp():.6f}".replace(".", "-")
        seen[name] += 1
        today = f"{timezone.localtime(event.at):%Y-%m-%d}"
        yield Row(
            id=f"{name}-{seen[name]}",
            event=event,
            service=SERVICES[event.service],
            day="" if today == day else today,
            clock=_clock(event.at),
            gap="" if step.seconds is None else duration(step.seconds),
            is_long=step.seconds is not None and step.seconds >= LONG,
            word=_WORDS[event.severity],
            line=next(
                (one_line(str(event.detail[name]), width=200) for name in _FIRST_LINE if name in event.detail), ""
            ),
            detail=[(name.replace("_", " "), _value(value)) for name, value in event.detail.items()],
            link=_link(request, event.service, event.link),
        )
        day = today


def _link(request: HttpRequest, service: str, below: str) -> Link | None:
    """A page of the other admin, or of this one if this person may see it; `below` is its address within that admin."""
    if not below:
        return None
    is_own = service == config().service
    root = reverse("admin:index") if is_own else settings.TIMELINE["PEER_ADMIN"]
    app, model, *_ = *below.split("/"), ""
    if is_own and not may_view(request, f"{app}.{model}"):
        return None
    text = _PAGES.get(model, "More about it")
    return Link(text if is_own else f"{text}, in the {SERVICES[service]}'s admin", f"{root}{below}")


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        try:
            return to_the_second(datetime.fromisoformat(value)) if "T" in value else value
        except ValueError:
            return value
    return str(value)


def _clock(at: datetime) -> str:
    return f"{timezone.localtime(at):%H:%M:%S.%f}"[:-3]
