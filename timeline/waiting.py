"""What an order that is not final waits for in this service, and why, in a sentence."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.utils import timezone

from desk.display import duration, one_line, printable
from messaging.conf import config, delay_seconds
from messaging.errors import ConfigurationError
from messaging.models import DeadLetter, FailedAttempt, OperatorAction, OutboxMessage, Process, ReplayedMessage
from timeline.event import SERVICES, Waiting, letter_page, outbox_page, replay_page


def consumer_is_missing() -> bool:
    """Whether no consumer of this service has given a sign of life lately."""
    return not _alive("consume")


def in_outbox(row: OutboxMessage, now: datetime) -> Waiting:
    """For an order that has this message in the outbox."""
    waits = duration((now - row.created_at).total_seconds())
    return _here(f"It waits in the {_name()}'s outbox for {waits}: {_why(row, now)}", outbox_page(row.pk))


def after_failure(
    letters: Sequence[DeadLetter],
    tries: Sequence[FailedAttempt],
    replayed: Sequence[ReplayedMessage],
    actions: Sequence[OperatorAction],
) -> Waiting | None:
    """What a message that failed here waits for, by the newest that is known of it; None when nothing failed.

    `letters` and `tries` are those of messages that have not taken effect. All but `tries` come newest first. The
    actions tell of a discarded dead letter even after it is purged.
    """
    if waiting := [letter for letter in letters if letter.status == DeadLetter.Status.WAITING]:
        return _for_replay(waiting, replayed) or _for_somebody(waiting[0])
    now = timezone.now()
    last = max(tries, key=lambda attempt: attempt.at, default=None)
    settled = max(
        ((letter.settled_at, letter) for letter in letters if letter.settled_at),
        key=lambda decision: decision[0],
        default=None,
    )
    if settled and not (last and last.at > settled[0]):
        return _after_decision(settled[1], duration((now - settled[0]).total_seconds()))
    if last is None and actions and actions[0].action == "discard":
        return _here(_discarded(actions[0].by, duration((now - actions[0].at).total_seconds())))
    if last is None:
        return None
    tried = f"The {_name()} has tried it {_times(last.attempt)} ({one_line(last.error_type, width=80)})"
    return _here(f"{tried}{_next(last, now)}")


def _for_replay(letters: Sequence[DeadLetter], replayed: Sequence[ReplayedMessage]) -> Waiting | None:
    planned = {row.dead_letter_id: row for row in replayed if row.outcome == ReplayedMessage.Outcome.WAITING}
    for letter in letters:
        if (row := planned.get(letter.pk)) and row.replay.state in ("running", "paused"):
            text = f"Replay {row.replay_id} of the {_name()} is to send it again, and is {row.replay.state}."
            return _here(text, replay_page(row.replay_id))
    return None


def _for_somebody(letter: DeadLetter) -> Waiting:
    error = one_line(": ".join(filter(None, (letter.error_type, letter.error_message))), width=160)
    return _here(f"A dead letter of the {_name()} waits for somebody: {error}", letter_page(letter.pk))


def _after_decision(letter: DeadLetter, ago: str) -> Waiting:
    if letter.status == DeadLetter.Status.DISCARDED:
        text = _discarded(letter.settled_by, ago)
    else:
        by = printable(letter.settled_by)
        text = f"The {_name()} has sent it to itself again {ago} ago, for {by}; nothing has come of that yet."
    return _here(text, letter_page(letter.pk))


def _discarded(by: str, ago: str) -> str:
    by = printable(by)
    return f"A dead letter of the {_name()} was discarded by {by} {ago} ago: nothing happens by itself any more."


def _next(last: FailedAttempt, now: datetime) -> str:
    if not last.retry_in:
        return " and given it up: it is on its way to the dead letters."
    try:
        due = last.at + timedelta(seconds=delay_seconds(last.retry_in))
    except ConfigurationError:  # written by a release with another format of delays
        return f", the next try comes after {last.retry_in}."
    if due > now:
        return f", next try in {duration((due - now).total_seconds())}."
    missing = ": no consumer of it is running." if consumer_is_missing() else "."
    return f", the next try was due {duration((now - due).total_seconds())} ago{missing}"


def _why(row: OutboxMessage, now: datetime) -> str:
    if row.attempts:
        soon = duration((row.available_at - now).total_seconds())
        tried = f"the broker has taken it back {_times(row.attempts)} ({one_line(row.last_error, width=120)})"
        return f"{tried}, next try in {soon}." if row.available_at > now else f"{tried}, next try at once."
    relays = _alive("relay")
    if not relays:
        return "no relay of that service is running."
    if all(relays):
        return f"its relay waits for the {relays[0]}."
    return "the relay has not come to it yet."


def _alive(role: str) -> list[str]:
    """What each living process of this role waits for; empty for one that waits for nothing."""
    return list(Process.objects.alive().filter(role=role).values_list("circuit", flat=True))


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _here(text: str, link: str = "") -> Waiting:
    return Waiting(service=config().service, text=text, link=link)


def _name() -> str:
    return SERVICES[config().service]
