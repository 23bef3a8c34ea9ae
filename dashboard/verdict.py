"""How things are, in words: what is wrong, and what to do about it. The thresholds are messaging's own."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from dashboard.snapshot import CAP, Snapshot
from dashboard.words import capped
from desk.display import duration, number_of
from messaging.conf import config
from messaging.models import Process

_COMMANDS = {"relay": "python manage.py relay", "consume": "python manage.py consume"}
_NAMES = {"relay": "relay", "consume": "consumer"}
_EFFECTS = {
    "relay": "What is committed stays in the outbox",
    "consume": "Messages stay in the work queue",
}
_SECTIONS = {"relay": "The outbox grows", "consume": "Orders stay pending"}


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that a person has to look at."""

    level: Literal["bad", "waiting"]
    what: str
    """What is wrong, in a sentence."""
    remedy: str
    """Sentences that say what to do."""
    section: str = ""
    """The section of docs/operations.md about it."""
    model: str = ""
    """`app.model`: its admin shows the rows behind the problem, limited by `filters`, or just the `row`."""
    filters: Mapping[str, str] = field(default_factory=dict)
    row: str = ""
    discreet: str = ""
    """The remedy for those who may not see the row; empty when it is the same."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The problems; causes come before what follows from them."""

    problems: tuple[Problem, ...]

    @property
    def is_well(self) -> bool:
        return not self.problems

    @property
    def line(self) -> str:
        """The verdict in one line."""
        if not self.problems:
            return "All is well."
        first, *others = self.problems
        return first.what if not others else f"{first.what} And {number_of(len(others), 'more thing')} to look at."


def judge(snapshot: Snapshot) -> Verdict:
    """All that is wrong, as far as this snapshot tells. Asks nobody else."""
    return Verdict(
        (
            *_database(snapshot),
            *_broker(snapshot),
            *_processes(snapshot),
            *_missing_queues(snapshot),
            *_dangers(snapshot),
            *_strangers(snapshot),
            *_retried(snapshot),
            *_outbox(snapshot),
            *_oldest_open(snapshot),
            *_dead_letters(snapshot),
            *_replays(snapshot),
        )
    )


def _database(snapshot: Snapshot) -> Iterator[Problem]:
    if snapshot.unanswered:
        what, reason = next(iter(snapshot.unanswered.items()))
        yield Problem(
            "bad",
            f"The database did not answer all that was asked ({what}: {reason}).",
            "The figures that are missing here are unknown, not zero. See what keeps the database busy, whether its "
            "disk is full, and whether `python manage.py migrate` has run.",
            section="The database is away",
        )


def _broker(snapshot: Snapshot) -> Iterator[Problem]:
    if snapshot.broker.error:
        yield Problem(
            "bad",
            "RabbitMQ does not answer.",
            f"{snapshot.broker.error.removesuffix('.')}. Nothing is lost: what is committed waits in the outbox and is "
            "published when it is back. Bring it back. Relays and consumers go on by themselves, unless their user, "
            "password or virtual host was refused: then they have ended.",
            section="The broker is away",
        )


def _processes(snapshot: Snapshot) -> Iterator[Problem]:
    for role, alive in (snapshot.processes or {}).items():
        if not alive:
            yield Problem(
                "bad",
                f"No {_NAMES[role]} runs.",
                f"None has given a sign of life within {Process.ALIVE_WITHIN} s. {_EFFECTS[role]} until one runs: "
                f"start `{_COMMANDS[role]}` in this service's folder."
                f"{_connected(snapshot) if role == 'consume' else ''}",
                section=_SECTIONS[role],
                model="messaging.process",
            )
        waiting = [process["circuit"] for process in alive if process["circuit"] != "closed"]
        if waiting:
            yield Problem(
                "bad",
                f"{len(waiting)} of {number_of(len(alive), _NAMES[role])} cannot go on: "
                f"{waiting[0].removeprefix('open: ')}.",
                "It goes on by itself as soon as that is back; its log says the reason.",
                section="The broker is away",
                model="messaging.process",
                filters={"role__exact": role},
            )


def _connected(snapshot: Snapshot) -> str:
    if snapshot.broker.queues and (connected := snapshot.broker.queues[0].consumers):
        return f" The broker has {connected} connected all the same: just started, hanging, or of another database."
    return ""


def _missing_queues(snapshot: Snapshot) -> Iterator[Problem]:
    missing = [queue.name for queue in snapshot.broker.queues if queue.messages is None]
    if missing:
        others = f", {missing[0]} and others" if len(missing) > 1 else f", {missing[0]}"
        yield Problem(
            "waiting",
            f"{len(missing)} of the {len(snapshot.broker.queues)} queues of this service{others}, "
            f"{'is' if len(missing) == 1 else 'are'} not on the broker.",
            "`python manage.py consume` declares them when it starts; `python manage.py topology apply` does it now.",
            section="The outbox grows",
        )


def _dangers(snapshot: Snapshot) -> Iterator[Problem]:
    if snapshot.dangers:
        first, *others = snapshot.dangers
        more = f" And {number_of(len(others), 'more thing')} of this kind." if others else ""
        yield Problem(
            "bad",
            f"RabbitMQ is told to lose messages: {first.text}.",
            f"{first.remedy}{more} `python manage.py topology diff` names all of it, and `python manage.py reconcile` "
            "finds the orders that are lost by now.",
            section="Policies",
        )


def _strangers(snapshot: Snapshot) -> Iterator[Problem]:
    known = len((snapshot.processes or {}).get("consume", ()))
    if not known:  # `_processes` has said so, with what is connected
        return
    last = len(snapshot.broker.queues) - 1
    for number, queue in enumerate(snapshot.broker.queues):
        ours = known if number in (0, last) else 0  # nobody takes from a retry queue: messages leave it by themselves
        if queue.consumers > ours:
            yield Problem(
                "bad",
                f"{number_of(queue.consumers, 'consumer')} {'takes' if queue.consumers == 1 else 'take'} messages from "
                f"{queue.name}, and {ours or 'none'} of them {'is' if ours < 2 else 'are'} known to this service.",
                "What another program takes is lost for this service. `rabbitmqctl list_consumers` says whose it is; "
                "one of this service that hangs, has just lost its connection, or uses another database is not known "
                "either. "
                "`python manage.py reconcile` finds the orders that are lost by now.",
                section="The books do not balance",
            )


def _retried(snapshot: Snapshot) -> Iterator[Problem]:
    if waiting := snapshot.retrying:
        yield Problem(
            "waiting",
            f"{number_of(waiting, 'message')} failed, and {'is' if waiting == 1 else 'are'} to be tried again.",
            "The tries that failed say why. When the cause is mended nothing else is to be done: messages come back by "
            "themselves, and become dead letters only after their last try.",
            section="Messages are retried",
            model="messaging.failedattempt",
        )


def _outbox(snapshot: Snapshot) -> Iterator[Problem]:
    limit = config().outbox_max_age
    if snapshot.outbox_age is not None and snapshot.outbox_age > limit:
        count = snapshot.outbox_count or 0
        yield Problem(
            "waiting",
            f"The oldest message in the outbox waits for {duration(snapshot.outbox_age)}, longer than {limit:g} s.",
            f"{capped(count, CAP)} {'waits' if count == 1 else 'wait'} to be published. Rows with an error were "
            "refused by the broker, and the error says why; rows without one wait for a relay.",
            section="The outbox grows",
            model="messaging.outboxmessage",
        )


def _oldest_open(snapshot: Snapshot) -> Iterator[Problem]:
    pipeline = snapshot.pipeline
    if pipeline and snapshot.oldest_open and snapshot.oldest_open[1] > pipeline.open_max_age:
        row, seconds = snapshot.oldest_open
        yield Problem(
            "waiting",
            f"The oldest {pipeline.open_label} {pipeline.one} waits for {duration(seconds)}, longer than "
            f"{pipeline.open_max_age:g} s.",
            pipeline.open_remedy,
            section=f"{pipeline.many.capitalize()} stay {pipeline.open_label}",
            model=pipeline.model,
            row=str(row),
        )


def _dead_letters(snapshot: Snapshot) -> Iterator[Problem]:
    if snapshot.dead_letters:
        yield Problem(
            "waiting",
            f"{capped(snapshot.dead_letters, CAP)} {'message' if snapshot.dead_letters == 1 else 'messages'} could not "
            f"be handled and {'waits' if snapshot.dead_letters == 1 else 'wait'} for a decision.",
            "Open the failure group, mend the cause, replay: a canary first.",
            section="Dead letters",
            model="messaging.deadletter",
        )


def _replays(snapshot: Snapshot) -> Iterator[Problem]:
    remedy = "Look at its outcomes, then resume or cancel it."
    for replay in snapshot.replays:
        if replay.state == "stopped":
            yield Problem(
                "waiting",
                f"Replay {replay.id} has stopped by itself.",
                f"{replay.reason} {remedy}".strip(),
                section="Dead letters",
                model="messaging.replay",
                row=str(replay.id),
                discreet=remedy,  # the reason may quote the error of a message
            )
