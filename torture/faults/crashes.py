"""Processes that die: wherever they happen to be, and just where it hurts most."""

from tests.programs import NAMES
from torture.arena import Arena
from torture.fault import fault


@fault(
    "every-process-is-killed",
    "SIGKILL to each of the six processes, one after the other, wherever it is at that moment.",
    group="crashes",
    attempts_stay_one=True,
    short=True,
)
def every_process_is_killed(arena: Arena) -> None:
    for name in arena.random.sample(NAMES, len(NAMES)):
        arena.load.wait_for_more(arena.random.randrange(1, 20))
        arena.system.kill(name)
        arena.system.start(name)
