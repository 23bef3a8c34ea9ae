"""Processes that die: wherever they happen to be, or just where it hurts most."""

from uuid import uuid4

from dev.environment import ORDER, PROCESSOR, SERVICES
from tests.broker import ORDER_QUEUE, PROCESSOR_QUEUE
from tests.programs import NAMES
from torture.arena import Arena
from torture.fault import fault
from torture.verdict import waiting_dead_letters

TIMES = 2
BAD = 10
"""How many unreadable messages are put on the work queue of each service."""
FAILS_OFTEN = {
    "SIMULATED_FAILURE_RATE": "0.3",
    # A ladder that no order gets to the end of: so many failures in a row happen once in a million orders.
    "MESSAGING_RETRY_DELAYS": "200ms,250ms,300ms,350ms,400ms,450ms,500ms,550ms,600ms,650ms,700ms",
}


def die_at(arena: Arena, name: str, place: str, **changes: str) -> None:
    """Twice: kills the process, and starts it so that it dies again at this place, with a batch in hand."""
    for _ in range(TIMES):
        arena.system.kill(name)
        arena.load.wait_for_more(20)  # so that this much has piled up when it comes back
        arena.system.start(name, FAILPOINT=f"{place}@{arena.random.randint(1, 4)}", **changes)
        arena.wait_for_death(name)
        arena.system.start(name, **changes)


@fault(
    "every-process-is-killed",
    "SIGKILL to each of the six processes, one after the other, wherever it is at that moment.",
)
def every_process_is_killed(arena: Arena) -> None:
    for name in arena.random.sample(NAMES, len(NAMES)):
        arena.load.wait_for_more(arena.random.randrange(1, 20))
        arena.system.kill(name)
        arena.system.start(name)


@fault(
    "order-web-dies-before-its-answer",
    "The order service's workers die, again and again, when the order is committed and the shop has no answer yet.",
)
def order_web_dies_before_its_answer(arena: Arena) -> None:
    web = arena.system.programs["order-web"]
    before = arena.load.unanswered
    arena.system.restart("order-web", FAILPOINT=f"orders.place.committed@{arena.random.randint(5, 15)}")
    arena.load.wait_for_more(100)
    assert web.is_running, "the master has not replaced its workers"
    assert arena.load.unanswered > before, "no worker has died"
    arena.system.restart("order-web")


@fault(
    "relays-die-after-the-confirms",
    "Each relay dies, twice, when the broker has confirmed a batch and its rows are still in the outbox.",
    short=True,
)
def relays_die_after_the_confirms(arena: Arena) -> None:
    for name in ("order-relay", "processor-relay"):
        die_at(arena, name, "relay.confirmed")


@fault(
    "relays-die-amid-the-confirms", "Each relay dies, twice, when the broker has confirmed some messages of a batch."
)
def relays_die_amid_the_confirms(arena: Arena) -> None:
    for name in ("order-relay", "processor-relay"):
        die_at(arena, name, "publisher.confirming")


@fault(
    "consumers-die-before-the-ack",
    "Each consumer dies, twice, when the effect of a batch is committed and nothing is acknowledged.",
    short=True,
)
def consumers_die_before_the_ack(arena: Arena) -> None:
    for name in ("order-consume", "processor-consume"):
        die_at(arena, name, "consume.committed")


@fault(
    "consumer-dies-between-rung-and-ack",
    "Three orders in ten fail, each time; the processor's consumer dies, twice, when such orders wait on their "
    "rung of the retry ladder and are not acknowledged.",
    attempts_stay_one=False,
)
def consumer_dies_between_rung_and_ack(arena: Arena) -> None:
    arena.system.restart("processor-consume", **FAILS_OFTEN)
    die_at(arena, "processor-consume", "consume.moved", **FAILS_OFTEN)
    arena.system.restart("processor-consume")


@fault(
    "consumers-die-keeping-dead-letters",
    f"{BAD} messages that cannot be read are put on each work queue; each consumer dies when it has stored them as "
    "dead letters and not acknowledged them.",
    dead_letters=2 * BAD,
)
def consumers_die_keeping_dead_letters(arena: Arena) -> None:
    for service, queue in ((ORDER, ORDER_QUEUE), (PROCESSOR, PROCESSOR_QUEUE)):
        name = f"{service.name}-consume"
        arena.system.restart(name, FAILPOINT="consume.kept")
        bad = [(b"{", {"message_id": str(uuid4())}) for _ in range(BAD)]
        arena.system.broker.publish_all(list(bad), routing_key=queue)
        arena.wait_for_death(name)
        arena.system.start(name)
    arena.system.wait(lambda: waiting_dead_letters(arena) == 2 * BAD, "all bad messages are dead letters")
    for service in SERVICES:
        found = arena.query(service, "SELECT max(occurrences) FROM messaging_deadletter WHERE status = 'waiting'")
        assert found == [(1,)], f"dead letters of the {service.name} service are counted more than once: {found}"
