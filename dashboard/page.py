"""The overview as a page: its figures, each with a link to the rows behind it if this person may see these.

Whoever may enter the admin sees the figures. What a row says, such as errors and names, only those see who may see the
row.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import urlencode

from dashboard import plots
from dashboard.histogram import percentile
from dashboard.pipeline import Pipeline, pipeline
from dashboard.rollup import MINUTES, Minute
from dashboard.snapshot import CAP, GROUP_CAP, Snapshot, take
from dashboard.verdict import Problem, judge
from dashboard.words import capped, duration_ms
from desk.display import duration
from desk.links import may_view, page_of
from messaging.conf import config


@dataclass(frozen=True, slots=True)
class Figure:
    """One number, with what it counts."""

    label: str
    value: str
    url: str = ""
    kind: str = ""
    """`good`, `waiting` or `bad`, which gives it a colour; empty for none."""


@dataclass(frozen=True, slots=True)
class Card:
    """Some figures under a heading."""

    title: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table that says the same as the plots."""

    time: str
    cells: tuple[Figure, ...]


UNKNOWN = "unknown"


def context(request: HttpRequest) -> dict[str, Any]:
    """All that the template needs. Asks the database and the broker."""
    snapshot = take(pipeline())
    verdict = judge(snapshot)
    links = _Links(request)
    groups_url = links.rows("messaging.failuregroup")
    found: dict[str, Any] = {
        "snapshot": snapshot,
        "verdict": verdict,
        "problems": [(problem, *links.of_problem(problem)) for problem in verdict.problems],
        "cards": [*_pipeline_cards(snapshot, links), *_messaging_cards(snapshot, links)],
        "queues": _queues(snapshot),
        "groups": [
            (group, capped(group.waiting, GROUP_CAP), links.row("messaging.failuregroup", group.id))
            for group in snapshot.groups
            if groups_url
        ],
        "groups_url": groups_url,
        "replays": [(replay, url) for replay in snapshot.replays if (url := links.row("messaging.replay", replay.id))],
        "is_counted": snapshot.hour is None or snapshot.hour.is_counted,
    }
    shown = snapshot.pipeline
    if shown is not None and snapshot.hour is not None:
        found |= _plots(snapshot, shown, links)
        if snapshot.stale is not None:
            found["stale"] = duration(snapshot.stale)
    if shown is not None and snapshot.is_empty:
        found["empty"] = shown.empty(request)
    return found


class _Links:
    """Addresses of rows in the admin; empty for those that this person may not see."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self._known: dict[str, str] = {}

    def rows(self, model: str, filters: Mapping[str, str] | None = None) -> str:
        url = self._list(model)
        return f"{url}?{urlencode(filters)}" if url and filters else url

    def row(self, model: str, id: Any) -> str:
        return page_of(self._request, model, id)

    def of_problem(self, problem: Problem) -> tuple[str, str]:
        """The address, and the remedy as far as this person may see it."""
        if not problem.model:
            return "", problem.remedy
        url = self.row(problem.model, problem.row) if problem.row else self.rows(problem.model, problem.filters)
        return url, problem.remedy if url else problem.discreet or problem.remedy

    def _list(self, model: str) -> str:
        if model not in self._known:
            may = may_view(self._request, model)
            self._known[model] = reverse(f"admin:{model.replace('.', '_')}_changelist") if may else ""
        return self._known[model]


def _pipeline_cards(snapshot: Snapshot, links: _Links) -> list[Card]:
    shown = snapshot.pipeline
    if shown is None:
        return []

    def since(minutes: int) -> dict[str, str]:
        return _span(shown, snapshot.hour.minutes[-minutes], minutes=minutes) if snapshot.hour else {}

    hour = since(MINUTES)
    counts = snapshot.counts
    by_status = (
        Figure(
            status.label,
            f"{counts[status.name]:,}" if snapshot.hour else UNKNOWN,
            links.rows(shown.model, {f"{shown.status}__exact": status.name, **hour}),
            status.kind if counts[status.name] else "",
        )
        for status in shown.statuses
    )
    total = f"{counts.total():,}" if snapshot.hour else UNKNOWN
    everything = Figure(f"{shown.many} {shown.happened}", total, links.rows(shown.model, hour))
    cards = [
        Card("The last hour", (everything, *by_status)),
        _times(shown.took, snapshot.took, lambda minutes: links.rows(shown.model, since(minutes))),
    ]
    if shown.waits:
        cards.append(_times(shown.waited, snapshot.waited, lambda _: links.rows("messaging.inboxmessage")))
    if shown.count_open:
        cards.append(_open_card(snapshot, shown, links))
    return cards


def _open_card(snapshot: Snapshot, shown: Pipeline, links: _Links) -> Card:
    count, oldest = snapshot.open_count, snapshot.oldest_open
    waiting = links.rows(shown.model, {f"{shown.status}__exact": shown.open_label})
    figures = [Figure(f"{shown.open_label} {shown.many}", UNKNOWN if count is None else capped(count, CAP), waiting)]
    if count is not None:
        is_late = oldest is not None and oldest[1] > shown.open_max_age
        figures.append(
            Figure(
                "the oldest waits for",
                duration(oldest[1]) if oldest else "–",
                links.row(shown.model, oldest[0]) if oldest else "",
                "waiting" if is_late else "",
            )
        )
    return Card("Not final yet", tuple(figures))


def _times(title: str, within: Callable[..., float | None], url: Callable[[int], str]) -> Card:
    figures = [
        Figure(f"p{share * 100:.0f}, last {label}", duration_ms(time), url(minutes) if time is not None else "")
        for minutes, label in ((MINUTES, "hour"), (5, "5 min"))
        for share in (0.5, 0.95)
        for time in [within(share, minutes=minutes)]
    ]
    return Card(title, tuple(figures))


def _messaging_cards(snapshot: Snapshot, links: _Links) -> list[Card]:
    outbox, letters = snapshot.outbox_count, snapshot.dead_letters
    is_old = snapshot.outbox_age is not None and snapshot.outbox_age > config().outbox_max_age
    outbox_url = links.rows("messaging.outboxmessage")
    outbox_age = "–" if snapshot.outbox_age is None else duration(snapshot.outbox_age)
    return [
        Card(
            "Outbox",
            (
                Figure("wait to be published", UNKNOWN if outbox is None else capped(outbox, CAP), outbox_url),
                Figure(
                    "the oldest waits for",
                    UNKNOWN if outbox is None else outbox_age,
                    outbox_url if snapshot.outbox_age is not None else "",
                    "waiting" if is_old else "",
                ),
            ),
        ),
        Card("Processes alive", tuple(_process_figures(snapshot, links))),
        Card(
            "Dead letters",
            (
                Figure(
                    "wait for a decision",
                    UNKNOWN if letters is None else capped(letters, CAP),
                    links.rows("messaging.deadletter"),
                    "bad" if letters else "",
                ),
            ),
        ),
    ]


def _process_figures(snapshot: Snapshot, links: _Links) -> list[Figure]:
    figures = []
    for role, label in (("relay", "relays"), ("consume", "consumers")):
        url = links.rows("messaging.process", {"role__exact": role})
        if snapshot.processes is None:
            figures.append(Figure(label, UNKNOWN, url))
            continue
        alive = snapshot.processes[role]
        waiting = sum(process["circuit"] != "closed" for process in alive)
        text = f"{label}, {waiting} of them waiting" if waiting else label
        figures.append(Figure(text, f"{len(alive):,}", url, "bad" if waiting or not alive else ""))
    return figures


def _queues(snapshot: Snapshot) -> list[tuple[str, str, str, str]]:
    """For each queue: what it is for, its name, how many messages, how many consumers."""
    queues = snapshot.broker.queues
    if not queues:
        return []
    rungs = (queue.name.rpartition(".")[2] for queue in queues[1:-1])
    titles = ["work", *(f"retry in {rung}" for rung in rungs), "dead letters"]
    return [
        (title, queue.name, "not there" if queue.messages is None else f"{queue.messages:,}", f"{queue.consumers:,}")
        for title, queue in zip(titles, queues, strict=True)
    ]


def _plots(snapshot: Snapshot, shown: Pipeline, links: _Links) -> dict[str, Any]:
    assert snapshot.hour is not None
    minutes = snapshot.hour.minutes

    def link(minute: Minute, status: str) -> str:
        filters = {f"{shown.status}__exact": status} if status else {}
        return links.rows(shown.model, {**filters, **_span(shown, minute)})

    drawn = [
        (
            "rate",
            f"{shown.many.capitalize()} {shown.happened} per minute",
            plots.bars(minutes, shown, link),
            [(status.kind, status.label) for status in shown.statuses],
        ),
        (
            "took",
            shown.took,
            plots.times(minutes, lambda minute: minute.took, link),
            [("p50", "p50: half took no longer"), ("p95", "p95: 19 of 20 took no longer")],
        ),
    ]
    rows = [
        Row(
            f"{minute.start:%H:%M}",
            (
                *(
                    Figure(status.label, f"{minute.counts[status.name]:,}", link(minute, status.name))
                    for status in shown.statuses
                ),
                *(Figure("", duration_ms(percentile(minute.took, share))) for share in (0.5, 0.95)),
            ),
        )
        for minute in reversed(minutes)
        if minute.total
    ]
    return {
        "plots": drawn,
        "rows": rows,
        "header": [*(status.label for status in shown.statuses), "p50", "p95"],
        "first": f"{minutes[0].start:%H:%M}",
        "middle": f"{minutes[MINUTES // 2].start:%H:%M}",
        "last": f"{minutes[-1].start:%H:%M}",
    }


def _span(shown: Pipeline, first: Minute, *, minutes: int = 1) -> dict[str, str]:
    end = first.start + timedelta(minutes=minutes)
    return {f"{shown.at}__gte": f"{first.start}", f"{shown.at}__lt": f"{end}"}
