"""What a fault is: a plain function that does something to a running system and mends it again.

    @fault("broker-restarts", "RabbitMQ is stopped and started again.")
    def broker_restarts(arena: Arena) -> None:
        arena.broker.stop()
        arena.hold(6)
        arena.broker.start()

The function is called while orders are being posted and some are already accepted. When it returns, the fault is
healed, and the system has to come back to rest by itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torture.arena import Arena

GROUPS = ("crashes", "broker", "cluster", "database", "messages", "operation")

type Run = Callable[["Arena"], None]
type Need = Callable[[], str]
"""Says in a sentence what this machine lacks; empty when it lacks nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    name: str
    summary: str
    """One sentence: what happens."""
    group: str
    run: Run
    attempts_stay_one: bool = True
    """Whether no message may be counted against its retry limit."""
    dead_letters: int | None = 0
    """How many dead letters of both services wait afterwards; None when that cannot be known."""
    short: bool = False
    """Whether it is one of the few that `--short` runs."""
    orders: int | None = None
    """How many orders, at least, are accepted; None for the number of the command line."""
    arena: str = "single"
    """The kind of broker that it runs on: a key of `torture.arena.BROKERS`."""
    needs: Sequence[Need] = ()
    episodes: int = 1
    """How often it strikes, and so how often a process may open and close the circuit of one dependency."""
    tap: bool = True
    """Whether the referee reads along on the exchange. Not for faults that remove queues: the tap's would hide that."""
    within: float = 240.0
    """Seconds after which it is given up, together with what comes before and after it."""

    def lacking(self) -> str:
        return " ".join(filter(None, (need() for need in self.needs)))


FAULTS: dict[str, Fault] = {}
"""All registered faults by name, in the order in which they run."""


def fault(name: str, summary: str, **expected: Any) -> Callable[[Run], Run]:
    """Registers a function as a fault. Its module names the group; `expected` are the other fields of `Fault`."""
    assert name not in FAULTS, name

    def register(run: Run) -> Run:
        group = getattr(run, "func", run).__module__.rpartition(".")[2]  # `run` is a partial or a function
        assert group in GROUPS, group
        FAULTS[name] = Fault(name=name, summary=summary, group=group, run=run, **expected)
        return run

    return register
