"""What operators do, or what machines do to them, while orders keep coming."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from dev.environment import ROOT, SERVICES
from dev.programs import find_faketime
from tests.programs import NAMES, Program
from torture.arena import Arena
from torture.fault import fault

LEAVES_WITHIN = 10.0
ROUNDS = 3
HOT_TABLES = {
    "order": ("orders_order", "messaging_outboxmessage", "messaging_inboxmessage"),
    "processor": ("processing_processingrecord", "messaging_outboxmessage", "messaging_inboxmessage"),
}
FROZEN = 50.0
"""Seconds; longer than the broker waits: it gives up a client after two missing heartbeats, of 15 s each."""
WORKERS = tuple(name for name in NAMES if not name.endswith("-web"))
HOUR = 3600


@fault(
    "rolling-restarts",
    f"All six processes are asked to leave and started again, one after the other, {ROUNDS} times over; each leaves "
    f"with 0 within {LEAVES_WITHIN:g} s.",
)
def rolling_restarts(arena: Arena) -> None:
    for _ in range(ROUNDS):
        for name in NAMES:
            ended = arena.system.stop(name)
            assert ended.code == 0, f"{name} has left with {ended.code}: {ended.said[-2000:]}"
            assert ended.seconds < LEAVES_WITHIN, f"{name} took {ended.seconds:.1f} s to leave"
            arena.system.start(name)


@fault(
    "a-migration-runs",
    "The tables that everything goes through get a column and an index, and both services' migrations run, as a "
    "release does it; then column and index go again.",
    episodes=6,
)
def a_migration_runs(arena: Arena) -> None:
    for service in SERVICES:
        with psycopg.connect(arena.database_of(service).url, autocommit=True) as connection:
            for table in HOT_TABLES[service.name]:
                connection.execute(f"ALTER TABLE {table} ADD COLUMN torture text NOT NULL DEFAULT ''")
                connection.execute(f"CREATE INDEX CONCURRENTLY torture_{table} ON {table} (torture)")
        arena.system.manage(service, "migrate", "--verbosity", "0")
    arena.load.wait_for_more(40)
    for service in SERVICES:
        with psycopg.connect(arena.database_of(service).url, autocommit=True) as connection:
            for table in HOT_TABLES[service.name]:
                connection.execute(f"DROP INDEX CONCURRENTLY torture_{table}")
                connection.execute(f"ALTER TABLE {table} DROP COLUMN torture")


@fault(
    "more-of-each-process",
    "Two relays and three consumers of each service run at once; then the additional ones are killed.",
)
def more_of_each_process(arena: Arena) -> None:
    with _more_of(arena, *WORKERS, *(name for name in WORKERS if name.endswith("-consume"))) as others:
        arena.load.wait_for_more(100)
        for other in others:
            assert not other.ended_by_itself, f"{other.ended_by_itself}: {other.text()[-2000:]}"
            other.kill()
            assert not (retried := other.lines(message="message will be retried")), retried[0]


@contextmanager
def _more_of(arena: Arena, *names: str) -> Iterator[list[Program]]:
    """More processes, beside those of the system."""
    with TemporaryDirectory(dir=arena.folder) as folder:
        others = [
            Program(name, {**arena.system.environment(name), "METRICS_PORT": "0"}, Path(folder, f"{number}.log"))
            for number, name in enumerate(names)
        ]
        try:
            for other in others:
                other.start()
            for other in others:
                arena.system.wait(partial(other.lines, message="started"), f"another {other.name} runs")
            yield others
        finally:
            for other in others:
                other.close()


@fault(
    "consumers-are-frozen",
    f"Both consumers stand still for {FROZEN:g} s (SIGSTOP), longer than the broker waits for a heartbeat.",
    episodes=2,
)
def consumers_are_frozen(arena: Arena) -> None:
    pids = [arena.system.programs[name].pid for name in ("order-consume", "processor-consume")]
    try:
        for pid in pids:
            assert pid
            os.kill(pid, signal.SIGSTOP)
        arena.hold(FROZEN)
    finally:
        for pid in pids:
            assert pid
            os.kill(pid, signal.SIGCONT)


def no_faketime() -> str:
    return "" if find_faketime() else "needs libfaketime (the Debian package faketime)"


@fault("clocks-jump", "The clocks of all six processes jump an hour ahead, and back again.", needs=[no_faketime])
def clocks_jump(arena: Arena) -> None:
    clock = arena.folder / "clock"
    _set(clock, 0)
    changes = {
        "LD_PRELOAD": str(find_faketime()),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",  # seconds; it would be slow to read the file at every look at the clock
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # that clock jumps on no machine
        "PYTHONPATH": str(ROOT / "torture" / "clock"),
    }
    for name in NAMES:
        arena.system.restart(name, **changes)
    for offset in (HOUR, 0):
        arena.load.wait_for_more(40)
        _set(clock, offset)
        arena.load.wait_for_more(80)
    for name in NAMES:
        arena.system.restart(name)


def _set(clock: Path, offset: int) -> None:
    """Sets how many seconds the clock is ahead. Replaces the file as a whole, since it is read again and again."""
    new = clock.with_name("clock.new")
    new.write_text(f"+{offset}s")
    new.rename(clock)
