"""A broker of three nodes, some of which die, are cut off from the others, or are restarted one by one."""

from tests.broker import ORDER_QUEUE, PROCESSOR_QUEUE, crash
from torture.arena import Arena
from torture.fault import fault

AWAY = 6.0
"""Seconds for which the other two nodes have to do without one."""
NO_MAJORITY = 20.0
QUEUES = (PROCESSOR_QUEUE, ORDER_QUEUE)


@fault(
    "leaders-are-killed",
    "SIGKILL to the node that leads the processor's work queue, and when it is back, to the one that leads the order "
    "service's.",
    arena="cluster",
    episodes=len(QUEUES),
)
def leaders_are_killed(arena: Arena) -> None:
    for queue in QUEUES:
        leader = arena.broker.leader_of(queue)
        crash(leader, arena.system.broker)
        arena.hold(AWAY)
        arena.broker.start()


@fault(
    "leader-is-cut-off",
    "The node that leads the processor's work queue is parted from the other two, which go on; it pauses, until "
    "the network between them works again.",
    arena="cluster",
)
def leader_is_cut_off(arena: Arena) -> None:
    leader = arena.broker.leader_of(PROCESSOR_QUEUE)
    arena.broker.cut_off(leader)
    arena.hold(AWAY)
    arena.broker.reconnect(leader)


@fault(
    "majority-is-killed", "SIGKILL to two of three nodes: nothing is confirmed until they are back.", arena="cluster"
)
def majority_is_killed(arena: Arena) -> None:
    for node in arena.random.sample(arena.broker.nodes, 2):
        node.kill()
    arena.hold(NO_MAJORITY)
    arena.broker.start()


@fault(
    "nodes-are-restarted",
    "Each of the three nodes is stopped in order and started again, one after the other, as for an upgrade.",
    arena="cluster",
    episodes=3,
)
def nodes_are_restarted(arena: Arena) -> None:
    for node in arena.broker.nodes:
        node.stop()
        arena.hold(AWAY)
        arena.broker.start()
