"""A broker that goes away, comes back, takes nothing, forgets something, or is hard to reach."""

from functools import partial

from dev.environment import ORDER, SERVICES
from tests.broker import EXCHANGE, ORDER_QUEUE, PROCESSOR_QUEUE, crash
from torture import verdict
from torture.arena import Arena
from torture.fault import fault

WORK = {PROCESSOR_QUEUE: "processor-consume", ORDER_QUEUE: "order-consume"}
TIMES = 4
MESSAGES = 30
"""How many, at least, are in each queue that is deleted."""
AWAY = 12.0
"""Seconds, in which the pauses between two attempts have nearly grown to their longest."""
BLOCKED = 25.0
"""Seconds; longer than a relay waits for confirms."""
SILENT = 20.0
"""Seconds; longer than from one heartbeat to the next."""
SLOW = 15.0


@fault("broker-restarts", "RabbitMQ is stopped in order, and started again.")
def broker_restarts(arena: Arena) -> None:
    arena.broker.stop()
    arena.hold(AWAY)
    arena.broker.start()


@fault("broker-is-killed", "SIGKILL to RabbitMQ, and it is started again.", short=True)
def broker_is_killed(arena: Arena) -> None:
    crash(arena.broker, arena.system.broker)
    arena.hold(AWAY)
    arena.broker.start()


@fault("broker-is-short-of-memory", "RabbitMQ's memory alarm: it accepts connections, and takes no message.")
def broker_is_short_of_memory(arena: Arena) -> None:
    arena.broker.ask_node("set_vm_memory_high_watermark", "0")
    try:
        arena.hold(BLOCKED)
    finally:
        arena.broker.ask_node("set_vm_memory_high_watermark", "absolute", "1GB")


@fault(
    "connections-are-closed",
    f"RabbitMQ closes all connections, as an operator has it do, {TIMES} times.",
    episodes=TIMES,
)
def connections_are_closed(arena: Arena) -> None:
    for _ in range(TIMES):
        arena.broker.ask_node("close_all_connections", "somebody wants it so")
        arena.load.wait_for_more(20)


@fault(
    "connections-are-reset",
    f"All connections between the processes and RabbitMQ are reset, {TIMES} times.",
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
)
def connections_die_in_silence(arena: Arena) -> None:
    for proxy in arena.broker_proxies:
        proxy.swallowing = True
    try:
        arena.hold(SILENT)
    finally:
        for proxy in arena.broker_proxies:
            proxy.swallowing = False


@fault("link-is-slow", "Whatever goes to RabbitMQ or comes from it takes 50 ms more, one piece after the other.")
def link_is_slow(arena: Arena) -> None:
    for proxy in arena.broker_proxies:
        proxy.delay = 0.05
    try:
        arena.hold(SLOW)
    finally:
        for proxy in arena.broker_proxies:
            proxy.delay = 0


@fault(
    "empty-queues-are-deleted",
    "Both work queues are deleted under their running consumers, with nothing in them.",
    tap=False,
)
def empty_queues_are_deleted(arena: Arena) -> None:
    arena.load.pause()
    settle(arena)
    with arena.system.broker.channel() as channel:
        for queue in WORK:
            assert channel.queue_delete(queue).method.message_count == 0, f"{queue} is not empty"
    arena.load.wait_for_more(50)


@fault(
    "full-queues-are-deleted",
    "Both work queues are deleted with confirmed messages in them, which no broker brings back: the ledger has to name "
    "the orders, and `reconcile --repair` to mend them.",
    tap=False,
)
def full_queues_are_deleted(arena: Arena) -> None:
    gone = 0
    for queue, name in WORK.items():
        arena.system.stop(name)
        arena.load.wait_for_more(MESSAGES)
        arena.load.pause()
        # The other service's consumer may have just been started, and takes a while to pass the messages on.
        arena.system.wait(partial(_is_full, arena, queue), f"{queue} has {MESSAGES} messages")
        arena.system.wait_for_empty_outboxes()
        with arena.system.broker.channel() as channel:
            gone += channel.queue_delete(queue).method.message_count
        arena.system.start(name)
    arena.load.wait_for_more(10)
    arena.load.pause()
    settle(arena, lost=gone)
    repaired = 0
    for service in SERVICES:
        repaired += verdict.reconcile(arena, service, "--repair")["repaired"]
        # Settles first: the other service may miss what is announced again here, and its ledger would only wait for it.
        settle(arena, lost=gone - repaired)
    arena.say(f"{gone} messages were deleted; the ledger has mended {repaired} orders")
    assert repaired == gone >= len(WORK) * MESSAGES, (
        f"{gone} messages were deleted, and the ledger has mended {repaired} orders"
    )


def _is_full(arena: Arena, queue: str) -> bool:
    return arena.system.broker.waiting().get(queue, 0) >= MESSAGES


@fault(
    "bindings-are-removed",
    "Somebody removes the bindings that lead to both work queues, and nobody puts them back.",
    tap=False,
)
def bindings_are_removed(arena: Arena) -> None:
    with arena.system.broker.channel() as channel:
        for queue, type_ in ((PROCESSOR_QUEUE, "order.created"), (ORDER_QUEUE, "order.processed")):
            channel.queue_unbind(queue, EXCHANGE, type_)
    arena.load.wait_for_more(50)


def settle(arena: Arena, *, lost: int = 0) -> None:
    """Waits until nothing is under way any more: all accepted orders are final, except `lost` ones."""

    def rests() -> bool:
        pending = arena.query(ORDER, "SELECT count(*) FROM orders_order WHERE status = 'pending'")
        return pending == [(lost,)] and not arena.system.broker.waiting()

    arena.system.wait_for_empty_outboxes()
    arena.system.wait(rests, f"nothing is under way, and {lost} orders are lost")
