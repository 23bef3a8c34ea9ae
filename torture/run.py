"""One fault, from the first order to the verdict."""

import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType

from dev.environment import SERVICES
from torture import verdict
from torture.arena import Arena
from torture.fault import Fault
from torture.load import Load
from torture.watch import Watch

BEFORE = 0.4
"""The share of the orders that is accepted before the fault comes."""
MAX_CPU = 0.05
MAX_BYTES = 200_000_000


@dataclass
class Row:
    """What came of a fault."""

    fault: Fault
    accepted: int = 0
    refused: int = 0
    """How many answers asked the shop to try again, and how many requests got no answer."""
    lost: int = 0
    doubled: int = 0
    seconds: float = 0.0
    """Seconds from healing until all that was accepted by then was final."""
    cpu: float | None = None
    """The largest share of a core that a relay or a consumer took while the fault was held without load."""
    megabytes: float = 0.0
    """The most megabytes that any of the processes had resident."""
    complaints: list[str] = field(default_factory=list)
    not_run: str = ""

    @property
    def holds(self) -> bool:
        """Whether the system kept its promise."""
        return not (self.lost or self.doubled or self.complaints)


def run(arena: Arena, fault: Fault, *, orders: int, rate: float, seed: str) -> Row:
    """Lets the fault happen to the system under load, and judges what has become of the orders.

    Never raises for what goes wrong with the system: that is a complaint in the row.
    """
    row = Row(fault)
    if lacking := fault.lacking():
        row.not_run = lacking
        return row
    arena.random = Random(f"{seed} {fault.name}")
    arena.cpu, arena.forged = {}, set()
    wanted = fault.orders or orders
    try:
        with at_most(fault.within), ExitStack() as stack:
            arena.heal()
            positions = {name: program.position for name, program in arena.system.programs.items()}
            arena.tap = stack.enter_context(arena.system.broker.tap()) if fault.tap else None
            watch = stack.enter_context(Watch(arena.system.programs))
            arena.load = stack.enter_context(Load(arena.system, rate=rate))
            arena.load.wait_until_accepted(int(wanted * BEFORE))
            try:
                fault.run(arena)
            except Exception as error:
                row.complaints.append(_said(error))
            row.complaints += arena.heal()
            started = time.monotonic()
            verdict.wait_until_final(arena, set(arena.load.expected))
            row.seconds = time.monotonic() - started
            arena.load.wait_until_accepted(wanted)
            arena.load.finish()
            verdict.wait_until_final(arena, arena.load.expected)
            watch.look()
            found = verdict.look(arena)
            row.lost, row.doubled = len(found.lost), len(found.doubled)
            row.complaints += found.complaints
            row.megabytes = max(watch.peak_bytes.values()) / 1_000_000
            row.complaints += _dead_letters(arena, fault) + _counted(arena, fault, positions) + _used(arena, watch)
            row.complaints += _circuits(arena, fault, positions) + arena.heal()
    except Exception as error:
        row.complaints.append(_said(error))
    row.cpu = max(arena.cpu.values(), default=None)
    if hasattr(arena, "load"):
        row.accepted = len(arena.load.accepted)
        row.refused = arena.load.refused + arena.load.unanswered
    return row


def _said(error: Exception) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(where.filename).name}, line {where.lineno})"


class TookTooLong(Exception):
    """Not a TimeoutError: that is an OSError, which whatever waits for a network would take for its own, and go on."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Ends the block with TookTooLong, wherever it hangs. Only for the main thread."""

    def give_up(number: int, frame: FrameType | None) -> None:
        raise TookTooLong(f"given up after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _dead_letters(arena: Arena, fault: Fault) -> list[str]:
    """Counts the dead letters that wait, and discards them."""
    waiting = verdict.waiting_dead_letters(arena)
    if waiting:
        for service in SERVICES:
            arena.system.manage(service, "dead_letters", "discard", "--all", "--yes", "--by", "torture")
    if fault.dead_letters is None or waiting == fault.dead_letters:
        return []
    return [f"{waiting} dead letters wait instead of {fault.dead_letters}"]


def _counted(arena: Arena, fault: Fault, positions: dict[str, int]) -> list[str]:
    """Messages that were counted as failed because of the fault, though nothing was wrong with them."""
    if not fault.attempts_stay_one:
        return []
    complaints = []
    records = arena.system.records_of(arena.load.customer_id)
    if again := [record for record in records if record["attempts"] != 1]:
        complaints.append(f"{len(again)} orders needed more than one attempt, such as {again[0]['order_id']}")
    for name, program in arena.system.programs.items():
        if retried := program.lines(since=positions[name], message="message will be retried"):
            complaints.append(f"{name} has counted {len(retried)} messages as failed, such as {retried[0]}")
    return complaints


def _circuits(arena: Arena, fault: Fault, positions: dict[str, int]) -> list[str]:
    """Circuits that opened or closed more often than the fault struck."""
    complaints = []
    for name, program in arena.system.programs.items():
        for line in (f"circuit {state}" for state in ("open", "closed")):
            said = [it["message"] for it in program.lines(since=positions[name]) if it["message"].startswith(line)]
            for message in set(said):
                if said.count(message) > fault.episodes:
                    complaints.append(f"{name} said {said.count(message)} times {message!r}")
    return complaints


def _used(arena: Arena, watch: Watch) -> list[str]:
    return [
        *(
            f"{name} took {share:.0%} of a core while it could do nothing"
            for name, share in arena.cpu.items()
            if share > MAX_CPU
        ),
        *(f"{name} grew to {peak / 1_000_000:.0f} MB" for name, peak in watch.peak_bytes.items() if peak > MAX_BYTES),
    ]
