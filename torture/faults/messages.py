"""Messages that arrive more often, later, in another form or in worse shape than they were sent."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pika

from dev.environment import PROCESSOR, ROOT
from messaging.conf import MessagingConfig
from messaging.frames import Publication
from messaging.publisher import Fate, Publisher
from tests.broker import EXCHANGE, ORDER_QUEUE, PROCESSOR_QUEUE, Broker, Event
from tests.events import order_created, order_processed
from tests.system import new_customer
from tests.waiting import eventually
from torture.arena import Arena
from torture.fault import fault
from torture.verdict import waiting_dead_letters

PUBLISHERS = 10
COPIES = 100
"""How many copies of one message come from each publisher."""
RESULTS = 50
BAD = 50_000
"""How many bad messages each service gets."""
AT_ONCE = 500
"""How many of them wait for their confirms together."""
GOOD = 1_000
STRANGE = 10
DELIVERY_LIMIT = 20
"""The work queues': how often the broker delivers again a message that was never answered."""
POISONED = {
    "PYTHONPATH": str(ROOT / "tests" / "own_steps"),
    "PROCESSING_STEPS": "processing.steps.validate,processing.steps.limit_total,own_steps.crash",
}


def passing(arena: Arena, type_: str, number: int) -> list[Event]:
    """The first `number` messages about orders of the load that pass the exchange from now on."""
    tap = arena.tap
    assert tap is not None
    before = len(tap.events(type_))

    def look() -> list[Event] | None:
        events = [event for event in tap.events(type_)[before:] if event.order_id in arena.load.expected]
        return events[:number] if len(events) >= number else None

    return eventually(look, f"{number} messages {type_} pass the exchange")


def copies(events: list[Event]) -> list[tuple[bytes | dict[str, Any], dict[str, Any]]]:
    """The same messages again, with the same ids and bodies."""
    return [(event.body, vars(event.properties)) for event in events]


@fault(
    "one-message-a-thousand-times",
    f"{PUBLISHERS} publishers at once send one order {COPIES} times each, while it is handled; then its result.",
)
def one_message_a_thousand_times(arena: Arena) -> None:
    for type_, name in (("order.created", "processor-consume"), ("order.processed", "order-consume")):
        arena.system.stop(name)
        [event] = passing(arena, type_, 1)  # not handled yet

        def publish(event: Event = event, type_: str = type_) -> None:
            arena.system.broker.publish_all(copies([event] * COPIES), exchange=EXCHANGE, routing_key=type_)

        with ThreadPoolExecutor(PUBLISHERS) as publishers:
            published = [publishers.submit(publish) for _ in range(PUBLISHERS)]
            arena.system.start(name)
        for each in published:
            each.result()


@fault(
    "results-out-of-order",
    f"{RESULTS} results arrive three times, in other orders, and then once more with the opposite outcome.",
)
def results_out_of_order(arena: Arena) -> None:
    arena.system.stop("order-consume")
    events = passing(arena, "order.processed", RESULTS)
    publish = {"exchange": EXCHANGE, "routing_key": "order.processed"}
    for _ in range(2):
        arena.system.broker.publish_all(copies(arena.random.sample(events, len(events))), **publish)
    for event in arena.random.sample(events, len(events)):
        opposite = {"completed": "failed", "failed": "completed"}[event.body["status"]]
        arena.forged.add(forged := str(uuid4()))
        arena.system.broker.publish(order_processed(event.order_id, status=opposite), message_id=forged, **publish)
    arena.system.start("order-consume")


@fault(
    "an-order-kills-its-consumer",
    "A rule of the processor takes its whole process along at one order, every time; the process is started again, "
    "until the broker gives the order up. Then the rule is mended and the dead letter replayed.",
)
def an_order_kills_its_consumer(arena: Arena) -> None:
    arena.system.restart("processor-consume", **POISONED)
    consume = arena.system.programs["processor-consume"]
    poison = arena.system.post_order(customer_id=f"poison-{new_customer()}")
    arena.load.wait_for_more(100)  # the other messages flow past it
    arena.load.pause()
    deaths = 0

    def it_is_given_up() -> bool:
        nonlocal deaths
        if not consume.is_running:
            deaths += 1
            consume.start(POISONED)  # as a supervisor does
        return waiting_dead_letters(arena) > 0

    eventually(it_is_given_up, "the order is a dead letter", within=180)
    assert deaths == DELIVERY_LIMIT + 1, f"it was given up after {deaths} deaths"
    arena.system.restart("processor-consume")
    arena.system.manage(PROCESSOR, "dead_letters", "replay", "--all", "--yes", "--by", "torture")
    arena.system.wait_for_status(poison["id"], "completed")


@fault(
    "a-hundred-thousand-bad-messages",
    f"{BAD:,} messages that cannot be read are put on each work queue while {GOOD:,} orders are placed.",
    orders=GOOD,
    dead_letters=2 * BAD,
    within=1200,
)
def a_hundred_thousand_bad_messages(arena: Arena) -> None:
    publishers = [
        threading.Thread(target=publish_unreadable, args=(arena.system.broker, queue, BAD), daemon=True)
        for queue in (ORDER_QUEUE, PROCESSOR_QUEUE)
    ]
    for publisher in publishers:
        publisher.start()
    arena.load.wait_until_accepted(GOOD)
    arena.load.pause()
    for publisher in publishers:
        publisher.join()
    arena.system.wait(lambda: waiting_dead_letters(arena) == 2 * BAD, "all of them are dead letters", within=900)


def publish_unreadable(broker: Broker, queue: str, number: int) -> None:
    """Waits for all confirms: without them the broker itself may lose some of a stream, on a busy machine."""
    config = MessagingConfig(url=broker.url, service="torture", queue=queue, exchange=EXCHANGE, handlers="")
    publisher = Publisher(config, name="torture, unreadable")
    publisher.open()
    try:
        for start in range(0, number, AT_ONCE):
            messages = [
                Publication("", queue, b"{", pika.BasicProperties(message_id=str(uuid4()), delivery_mode=2))
                for _ in range(min(AT_ONCE, number - start))
            ]
            while messages:
                receipts = publisher.publish(messages)
                pairs = zip(messages, receipts, strict=True)
                messages = [message for message, receipt in pairs if receipt.fate is not Fate.CONFIRMED]
    finally:
        publisher.close()


@fault(
    "other-versions-of-the-events",
    f"{STRANGE} orders and their results come from an older service, which knows no versions, and a newer one, with "
    f"fields that nobody knows; {STRANGE} messages more are of a version that nobody knows.",
    dead_letters=2 * STRANGE,
)
def other_versions_of_the_events(arena: Arena) -> None:
    system = arena.system
    system.stop("processor-consume")  # this function decides instead
    orders = [system.post_order() for _ in range(STRANGE)]
    for order in orders:
        system.broker.publish(
            order_created(order["id"], customer_id=order["customer_id"], gift_wrapping={"paper": "red"}),
            exchange=EXCHANGE,
            routing_key="order.created",
            headers={"schema-version": 1, "shop-version": "9"},
        )
        system.broker.publish(
            order_processed(order["id"], warehouse="north"), exchange=EXCHANGE, routing_key="order.processed"
        )
    for order in orders:
        system.wait_for_status(order["id"], "completed")
    system.start("processor-consume")
    for order in orders:
        system.wait_for_record(order["id"])
    for queue in (ORDER_QUEUE, PROCESSOR_QUEUE):
        system.broker.publish_all(
            [({"order_id": str(uuid4())}, {"headers": {"schema-version": 99}}) for _ in range(STRANGE)],
            routing_key=queue,
        )
    system.wait(lambda: waiting_dead_letters(arena) == 2 * STRANGE, "the unknown versions are dead letters")
