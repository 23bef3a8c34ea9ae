"""How the commands show a replay, and wait for it."""

import json
from collections.abc import Callable
from time import sleep
from typing import Any

from django.core.management.base import CommandError, OutputWrapper
from tqdm import tqdm

from desk.display import facts, one_line, printable, table, to_the_second
from messaging import replays
from messaging.health import missing_roles
from messaging.models import Process, Replay, ReplayedMessage

LOOK_EVERY = 0.5
"""Seconds."""
_OVER = (Replay.State.STOPPED, Replay.State.CANCELLED, Replay.State.FINISHED)
_PROBLEMS_FIRST = ("failed", "sent", "skipped", "waiting", "handled")


def watch(replay: Replay, *, say: Callable[[str], object]) -> Replay:
    """Waits until the replay is over, with a progress bar on a terminal, and returns it as it is then.

    A replay that somebody has paused is waited for. Ctrl-C ends the waiting and not the replay.
    """
    for role in missing_roles():
        say(f"No {role} was seen within {Process.ALIVE_WITHIN} seconds: the replay does not get on until one runs.")
    try:
        with tqdm(total=replay.total, disable=None, unit=" messages", leave=False) as bar:
            while True:
                replay.refresh_from_db()
                progress = replays.progress(replay)
                bar.n = progress.settled
                bar.set_description(progress.step if replay.state == Replay.State.RUNNING else replay.state)
                bar.refresh()
                if replay.state in _OVER:
                    return replay
                sleep(LOOK_EVERY)
    except KeyboardInterrupt:
        raise CommandError(
            f"Replay {replay.pk} goes on: manage.py replays show {replay.pk}, or pause or cancel it there.",
            returncode=130,
        ) from None


def show(replay: Replay, *, as_json: bool, limit: int, out: OutputWrapper) -> None:
    """The replay, how many messages have which outcome, and up to `limit` of those that matter most; 0 for all."""
    progress = replays.progress(replay)
    counts = outcomes(progress)
    rows = replays.page(replay, counts, limit=limit or replay.total)
    if as_json:
        content = as_dict(replay) | {"outcomes": counts, "step": progress.step}
        out.write(json.dumps(content | {"messages": [_message_as_dict(row) for row in rows]}))
        return
    values = {
        "replay": str(replay.pk),
        "state": replay.get_state_display() + (f": {replay.state_reason}" if replay.state_reason else ""),
        "step": progress.step,
        "started": f"{to_the_second(replay.created_at)} by {replay.created_by}",
        "reason": replay.reason,
        "messages": f"{replay.total:,}",
    }
    for line in facts({name: value for name, value in values.items() if value}):
        out.write(line)
    out.write("")
    labels = dict(ReplayedMessage.Outcome.choices)
    for line in table(
        ("OUTCOME", "MESSAGES"), [(str(labels[name]).lower(), str(number)) for name, number in counts.items()]
    ):
        out.write(line)
    if rows:
        out.write("")
        header = ("NO.", "DEAD LETTER", "ABOUT", "OUTCOME", "DETAIL")
        for line in table(header, [_cells(row) for row in rows]):
            out.write(line)
        if len(rows) < replay.total:
            out.write(f"and {replay.total - len(rows):,} more: raise --limit")


def raise_unless_handled(replay: Replay) -> None:
    """Raises CommandError when the replay did not end well, so that scripts notice."""
    failed = replay.messages.filter(outcome=ReplayedMessage.Outcome.FAILED).count()
    if replay.state == Replay.State.FINISHED and not failed:
        return
    what = replay.get_state_display() if replay.state != Replay.State.FINISHED else f"finished, {failed} failed again"
    raise CommandError(f"Replay {replay.pk} is {what}. {printable(replay.state_reason)}")


def outcomes(progress: replays.Progress) -> dict[str, int]:
    """How many messages have which outcome, problems first."""
    return {outcome: getattr(progress, outcome) for outcome in _PROBLEMS_FIRST}


def as_dict(replay: Replay) -> dict[str, Any]:
    """The replay as JSON has it, without what became of its messages."""
    return {
        "id": replay.pk,
        "state": replay.state,
        "state_reason": replay.state_reason,
        "created_at": replay.created_at.isoformat(),
        "created_by": replay.created_by,
        "reason": replay.reason,
        "canary": replay.canary,
        "rate": replay.rate,
        "total": replay.total,
        "changed_at": replay.changed_at.isoformat(),
        "finished_at": replay.finished_at and replay.finished_at.isoformat(),
    }


def _cells(row: ReplayedMessage) -> tuple[str, ...]:
    return (
        str(row.position + 1),
        str(row.dead_letter_id),
        one_line(row.subject or str(row.message_id), width=64),
        row.outcome,
        one_line(row.detail, width=500),
    )


def _message_as_dict(row: ReplayedMessage) -> dict[str, Any]:
    return {
        "position": row.position,
        "dead_letter": row.dead_letter_id,
        "message_id": str(row.message_id),
        "subject": row.subject,
        "outcome": row.outcome,
        "detail": row.detail,
        "sent_at": row.sent_at and row.sent_at.isoformat(),
        "settled_at": row.settled_at and row.settled_at.isoformat(),
    }
