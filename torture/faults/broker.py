"""A broker that goes, comes back, takes nothing, forgets something, or is hard to reach."""

from tests.broker import crash
from torture.arena import Arena
from torture.fault import fault

TIMES = 4
AWAY = 12.0
"""Seconds. Pauses between two attempts have grown to their longest, nearly, in that time."""
BLOCKED = 25.0
"""Seconds; longer than a relay waits for confirms."""
SILENT = 20.0
"""Seconds; longer than from one heartbeat to the next."""
SLOW = 15.0


@fault(
    "broker-restarts",
    "RabbitMQ is stopped in order, and started again.",
    group="broker",
    attempts_stay_one=True,
)
def broker_restarts(arena: Arena) -> None:
    arena.broker.stop()
    arena.hold(AWAY)
    arena.broker.start()


@fault(
    "broker-is-killed",
    "SIGKILL to RabbitMQ, and it is started again.",
    group="broker",
    attempts_stay_one=True,
    short=True,
)
def broker_is_killed(arena: Arena) -> None:
    crash(arena.broker, arena.system.broker)
    arena.hold(AWAY)
    arena.broker.start()


@fault(
    "broker-is-short-of-memory",
    "RabbitMQ's memory alarm: it accepts connections, and takes no message.",
    group="broker",
    attempts_stay_one=True,
)
def broker_is_short_of_memory(arena: Arena) -> None:
    arena.broker.ask_node("set_vm_memory_high_watermark", "0")
    try:
        arena.hold(BLOCKED)
    finally:
        arena.broker.ask_node("set_vm_memory_high_watermark", "absolute", "1GB")


@fault(
    "connections-are-closed",
    f"RabbitMQ closes all connections, as an operator has it do, {TIMES} times.",
    group="broker",
    attempts_stay_one=True,
    episodes=TIMES,
)
def connections_are_closed(arena: Arena) -> None:
    for _ in range(TIMES):
        arena.broker.ask_node("close_all_connections", "somebody wants it so")
        arena.load.wait_for_more(20)


@fault(
    "connections-are-reset",
    f"All connections between the processes and RabbitMQ are reset, {TIMES} times.",
    group="broker",
    attempts_stay_one=True,
    episodes=TIMES,
)
def connections_are_reset(arena: Arena) -> None:
    for _ in range(TIMES):
        for proxy in arena.broker_proxies:
            proxy.cut_all()
        arena.load.wait_for_more(20)


@fault(
    "connections-die-in-silence",
    "The network takes every byte and delivers none, in both directions, and closes nothing; when it works again, the "
    "old connections stay dead.",
    group="broker",
    attempts_stay_one=True,
)
def connections_die_in_silence(arena: Arena) -> None:
    for proxy in arena.broker_proxies:
        proxy.swallowing = True
    try:
        arena.hold(SILENT)
    finally:
        for proxy in arena.broker_proxies:
            proxy.swallowing = False


@fault(
    "link-is-slow",
    "Whatever goes to RabbitMQ or comes from it takes 50 ms more, one piece after the other.",
    group="broker",
    attempts_stay_one=True,
)
def link_is_slow(arena: Arena) -> None:
    for proxy in arena.broker_proxies:
        proxy.delay = 0.05
    try:
        arena.hold(SLOW)
    finally:
        for proxy in arena.broker_proxies:
            proxy.delay = 0
