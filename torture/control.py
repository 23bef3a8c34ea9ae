"""The negative control: messages are removed behind everybody's back, and that has to come to light."""

from urllib.parse import quote

from dev.environment import ORDER
from dev.servers.rabbitmq import manage
from tests.broker import PROCESSOR_QUEUE
from tests.waiting import eventually
from torture import verdict
from torture.arena import Arena
from torture.load import Load

BEFORE = TAKEN = 30
"""How many orders are processed as usual before, and of how many more, at least, the messages are removed."""


def control(arena: Arena, *, rate: float) -> str:
    """Empties the processor's work queue while orders wait in it.

    Raises AssertionError unless referee and ledger name just those orders as lost, and `reconcile --repair` makes all
    of them final. Returns what was seen, in a sentence.
    """
    system = arena.system
    arena.forged = set()
    with system.broker.tap() as arena.tap, Load(system, rate=rate) as arena.load:
        arena.load.wait_until_accepted(BEFORE)
        verdict.wait_until_final(arena, set(arena.load.expected))
        system.stop("processor-consume")
        arena.load.wait_for_more(TAKEN)
        arena.load.finish()
        system.wait_for_empty_outboxes()
        queue = f"/api/queues/{quote('/', safe='')}/{PROCESSOR_QUEUE}/contents"
        manage(arena.broker.management_url, "DELETE", queue)
        taken = arena.load.expected.keys() - {it["order_id"] for it in system.records_of(arena.load.customer_id)}
        assert len(taken) >= TAKEN, f"only {len(taken)} messages could be taken away"
        system.start("processor-consume")
        after = system.post_order()
        system.wait_for_status(after["id"], "completed")

        lost = verdict.look_at_orders(arena).lost
        assert lost == taken, f"messages of {len(taken)} orders were taken away, the referee has found {len(lost)} lost"
        # While a consumer may have a message in hand, no order is called missing, and the broker's figure on that lags.
        eventually(
            lambda: taken == {finding["order_id"] for finding in verdict.reconcile(arena, ORDER)["missing"]},
            f"the ledger misses the {len(taken)} orders whose messages were taken away",
        )

        verdict.reconcile(arena, ORDER, "--repair")
        verdict.wait_until_final(arena, taken)
        found = verdict.look(arena)
        assert found == verdict.Findings(), f"after reconcile --repair: {found}"
    return (
        f"the messages of {len(taken)} orders were taken away; referee and ledger have named the same {len(taken)}, "
        "and after reconcile --repair all of them were final"
    )
