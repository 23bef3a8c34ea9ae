"""The overview for a terminal and for machines."""

import textwrap
from collections.abc import Iterator
from typing import Any

from dashboard.rollup import MINUTES, Minute
from dashboard.snapshot import CAP, GROUP_CAP, Snapshot
from dashboard.verdict import Verdict
from dashboard.words import capped, duration_ms
from desk.display import duration, one_line, printable, table

_BLOCKS = " ▁▂▃▄▅▆▇█"
_ROLES = {"relay": "relays", "consume": "consumers"}


def as_json(snapshot: Snapshot, verdict: Verdict) -> dict[str, Any]:
    """One JSON object. Unknown figures are null; a count above its limit is the limit plus one."""
    pipeline, hour = snapshot.pipeline, snapshot.hour
    return {
        "at": snapshot.at.isoformat(),
        "well": verdict.is_well,
        "line": verdict.line,
        "problems": [
            {"level": problem.level, "what": problem.what, "remedy": problem.remedy, "section": problem.section}
            for problem in verdict.problems
        ],
        "last_hour": hour
        and pipeline
        and {
            "of": pipeline.many,
            "counted": hour.is_counted,
            "counts": {status.name: snapshot.counts[status.name] for status in pipeline.statuses},
            "p50_ms": _rounded(snapshot.took(0.5)),
            "p95_ms": _rounded(snapshot.took(0.95)),
            "waited_p50_ms": _rounded(snapshot.waited(0.5)),
            "waited_p95_ms": _rounded(snapshot.waited(0.95)),
            "minutes": [
                {"minute": minute.start.isoformat(), "counted": minute.is_counted, "counts": dict(minute.counts)}
                for minute in hour.minutes
            ],
        },
        "open": snapshot.open_count,
        "oldest_open": snapshot.oldest_open
        and {"id": str(snapshot.oldest_open[0]), "age_seconds": round(snapshot.oldest_open[1], 1)},
        "outbox": {"waiting": snapshot.outbox_count, "oldest_age_seconds": _rounded(snapshot.outbox_age)},
        "dead_letters": {
            "waiting": snapshot.dead_letters,
            "groups": [
                {
                    "id": group.id,
                    "error_type": group.error_type,
                    "place": group.place,
                    "type": group.type,
                    "state": group.state,
                    "owner": group.owner,
                    "waiting": group.waiting,
                }
                for group in snapshot.groups
            ],
        },
        "replays": [
            {"id": r.id, "state": r.state, "total": r.total, "sent": r.sent, "failed": r.failed}
            for r in snapshot.replays
        ],
        "processes": snapshot.processes,
        "queues": None
        if snapshot.broker.error
        else [
            {"name": queue.name, "messages": queue.messages, "consumers": queue.consumers}
            for queue in snapshot.broker.queues
        ],
        "broker_error": snapshot.broker.error or None,
        "unanswered": snapshot.unanswered,
    }


def as_text(snapshot: Snapshot, verdict: Verdict, *, width: int = 100) -> Iterator[str]:
    """Lines: the verdict and what to do, then the figures."""
    yield verdict.line
    for problem in verdict.problems:
        yield ""
        section = f" See “{problem.section}” in docs/operations.md." if problem.section else ""
        yield from textwrap.wrap(printable(problem.what), width, initial_indent="! ", subsequent_indent="  ")
        yield from textwrap.wrap(
            printable(problem.remedy) + section, width, initial_indent="  ", subsequent_indent="  "
        )
    if snapshot.pipeline is not None and snapshot.is_empty:
        empty = snapshot.pipeline.empty(None)
        yield ""
        yield empty.sentence
        yield from (f"  {line}" for line in empty.command.splitlines())
    yield ""
    yield from table(("FIGURE", "VALUE"), [(name, printable(value)) for name, value in _figures(snapshot)])
    if snapshot.hour is not None:
        yield ""
        yield from _bars(snapshot.hour.minutes)
    if snapshot.broker.queues:
        yield ""
        queues = [
            (queue.name, "not there" if queue.messages is None else f"{queue.messages:,}", f"{queue.consumers:,}")
            for queue in snapshot.broker.queues
        ]
        yield from table(("QUEUE", "WAITING", "CONSUMERS"), queues)
    if snapshot.groups:
        yield ""
        groups = [
            (
                str(group.id),
                capped(group.waiting, GROUP_CAP),
                one_line(f"{group.state} {group.owner}".strip(), width=40),
                group.shown_type,
                one_line(f"{group.error_type} in {group.place or 'unknown place'}", width=100),
            )
            for group in snapshot.groups
        ]
        yield from table(("GROUP", "WAITING", "STATE", "TYPE", "FAILURE"), groups)
    if snapshot.replays:
        yield ""
        replays = [
            (str(replay.id), replay.state, f"{replay.sent:,} of {replay.total:,}", capped(replay.failed, CAP))
            for replay in snapshot.replays
        ]
        yield from table(("REPLAY", "STATE", "SENT", "FAILED AGAIN"), replays)
    yield ""
    yield f"As of {snapshot.at:%Y-%m-%d %H:%M:%S} UTC."


def _figures(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    pipeline = snapshot.pipeline
    if pipeline is not None:
        counts = snapshot.counts
        said = ", ".join(f"{counts[status.name]:,} {status.label}" for status in pipeline.statuses)
        note = "" if snapshot.stale is None else f" (some of them last counted {duration(snapshot.stale)} ago)"
        if snapshot.hour is not None and not snapshot.hour.is_counted:
            note = " (still being counted)"
        yield f"{pipeline.many} {pipeline.happened}, last hour", said + note if snapshot.hour else "unknown"
        yield pipeline.took, f"p50 {duration_ms(snapshot.took(0.5))}, p95 {duration_ms(snapshot.took(0.95))}"
        if pipeline.waits:
            yield pipeline.waited, f"p50 {duration_ms(snapshot.waited(0.5))}, p95 {duration_ms(snapshot.waited(0.95))}"
        if pipeline.count_open:
            oldest = f", the oldest for {duration(snapshot.oldest_open[1])}" if snapshot.oldest_open else ""
            open_count = "unknown" if snapshot.open_count is None else capped(snapshot.open_count, CAP)
            yield f"{pipeline.open_label} {pipeline.many}", open_count + oldest
    oldest = f", the oldest for {duration(snapshot.outbox_age)}" if snapshot.outbox_age is not None else ""
    yield "outbox", ("unknown" if snapshot.outbox_count is None else capped(snapshot.outbox_count, CAP)) + oldest
    for role, label in _ROLES.items():
        yield f"{label} alive", "unknown" if snapshot.processes is None else f"{len(snapshot.processes[role]):,}"
    letters = snapshot.dead_letters
    yield "dead letters waiting", "unknown" if letters is None else capped(letters, CAP)
    if snapshot.broker.error:
        yield "queues", snapshot.broker.error


def _bars(minutes: list[Minute]) -> Iterator[str]:
    top = max((minute.total for minute in minutes), default=0)
    levels = len(_BLOCKS) - 1
    marks = "".join(_BLOCKS[-(-minute.total * levels // top) if top else 0] for minute in minutes)
    yield f"{marks}  per minute, at most {top:,}"
    yield f"{minutes[0].start:%H:%M}".ljust(MINUTES - 5) + f"{minutes[-1].start:%H:%M} UTC"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
