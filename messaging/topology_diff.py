"""How the live broker differs from what this service needs on it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pika.exceptions
from pika.adapters.blocking_connection import BlockingConnection

from messaging import amqp, topology
from messaging.conf import MessagingConfig
from messaging.errors import BrokerUnavailableError
from messaging.management_api import ManagementApi
from messaging.topology import Binding, Exchange, Queue, Topology

_APPLY = "`manage.py topology apply` declares it."
_IMMUTABLE = (
    "Properties can never be changed: drain it, delete it and apply, or give the service a queue with a new version "
    "in its name."
)
_ALTERNATE = "alternate-exchange"


@dataclass(frozen=True, slots=True)
class Difference:
    """A sentence on what is not as it should be, and one on what to do; the latter is empty where the first says it."""

    text: str
    remedy: str
    loses_messages: bool = False
    """It makes messages of this service vanish, or go where nobody looks for them, and no process says so."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the live broker differs from what this service needs."""

    differences: tuple[Difference, ...]
    not_compared: tuple[str, ...] = ()
    """What could not be looked at, and what to do about it."""


def compare(config: MessagingConfig) -> Comparison:
    """Compares by the management API when `management_url` is set, else over AMQP, which cannot see bindings.

    Changes nothing. Raises BrokerUnavailableError when the broker cannot be reached, ConfigurationError when it refuses
    the credentials.
    """
    wanted = topology.describe(config)
    if not config.management_url:
        return _compare_by_declaring(config, wanted)
    virtual_host = amqp.parameters(config, name="topology")[0].virtual_host
    api = ManagementApi(config.management_url, virtual_host=virtual_host)
    queues = api.queues()
    return Comparison(
        (
            *_exchange_differences(wanted, api.exchanges(), api.policies()),
            *_queue_differences(wanted, queues),
            *_binding_differences(wanted, api.bindings()),
            *_left_over(config, wanted, queues),
        )
    )


def _exchange_differences(
    wanted: Topology, live: dict[str, dict[str, Any]], policies: dict[str, dict[str, Any]]
) -> Iterator[Difference]:
    for exchange in wanted.exchanges:
        what = f"exchange {exchange.name!r}"
        found = live.get(exchange.name)
        if found is None:
            yield Difference(f"{what} is missing", _APPLY)
            continue
        properties = {"type": exchange.kind, "durable": True, "auto_delete": False, "internal": False}
        for name, value in properties.items():
            if found.get(name) != value:
                yield Difference(f"{what}: {name} is {found.get(name)}, wanted is {value}", _IMMUTABLE)
        # With an alternate exchange the broker confirms what no queue takes: it leaves the outbox for somebody else's
        # queue.
        if alternate := (found.get("arguments") or {}).get(_ALTERNATE):
            yield Difference(f"{what}: {_ALTERNATE} is {alternate}, wanted is not set", _IMMUTABLE, loses_messages=True)
        policy = policies.get(found.get("policy") or "", {})
        if alternate := policy.get(_ALTERNATE):
            remedy = (
                f"Exempt the exchange from the policy {found['policy']!r}: what no queue takes counts as published."
            )
            yield Difference(f"{what}: a policy sets {_ALTERNATE} to {alternate}", remedy, loses_messages=True)


def _queue_differences(wanted: Topology, live: dict[str, dict[str, Any]]) -> Iterator[Difference]:
    for queue in wanted.queues:
        what = f"queue {queue.name!r}"
        found = live.get(queue.name)
        if found is None:
            yield Difference(f"{what} is missing", _APPLY)
            continue
        if not found.get("durable"):
            yield Difference(f"{what} is not durable", _IMMUTABLE)
        arguments = found.get("arguments") or {}
        for name in sorted(queue.arguments.keys() | arguments.keys()):
            has, wants = arguments.get(name, "not set"), queue.arguments.get(name, "not set")
            if has != wants:
                yield Difference(f"{what}: {name} is {has}, wanted is {wants}", _IMMUTABLE)
        policy = found.get("effective_policy_definition") or {}
        for name, value in sorted(policy.items()):
            if _does_harm(name, value, queue.arguments.get(f"x-{name}")):
                by = " and ".join(repr(found[kind]) for kind in ("policy", "operator_policy") if found.get(kind))
                remedy = f"Exempt the queue from the policy {by}: it drops messages or moves them on too early."
                yield Difference(f"{what}: a policy sets {name} to {value}", remedy, loses_messages=True)


def _does_harm(name: str, value: Any, argument: Any) -> bool:
    """Whether a policy with this makes a quorum queue, declared with this argument, drop messages or send them away.

    Policies on how a queue dead-letters do not: there the broker takes the argument, and the dead-letter queue has
    nothing to dead-letter.
    """
    match name:
        case "expires" | "max-length" | "max-length-bytes" | "message-ttl":
            return True
        case "delivery-limit":  # the broker takes the smaller one; below 0 means no limit
            return argument is not None and 0 <= value < argument
        case "overflow":  # the broker takes the policy's, and then gives up dead-lettering at least once
            return argument not in (None, value)
    return False


def _binding_differences(wanted: Topology, live: list[dict[str, Any]]) -> Iterator[Difference]:
    ours = {queue.name for queue in wanted.queues}
    found = {
        Binding(binding["source"], binding["routing_key"], binding["destination"])
        for binding in live
        # Every queue is bound to the default exchange, whose name is empty.
        if binding["source"] and binding["destination_type"] == "queue" and binding["destination"] in ours
    }
    for binding in sorted(set(wanted.bindings) - found, key=_say):
        yield Difference(f"{_say(binding)} is missing", _APPLY)
    for binding in sorted(found - set(wanted.bindings), key=_say):
        yield Difference(
            f"{_say(binding)} is there, but not wanted",
            "Unbind it by hand: a type without a handler goes to the dead letters.",
        )


def _left_over(config: MessagingConfig, wanted: Topology, live: dict[str, dict[str, Any]]) -> Iterator[Difference]:
    """Rungs of an earlier ladder: what still waits on them comes back, but nobody looks after them."""
    names = {queue.name for queue in wanted.queues}
    for name, queue in sorted(live.items()):
        if name.startswith(f"{config.queue}.") and name not in names:
            messages = queue.get("messages", "an unknown number of")
            yield Difference(
                f"queue {name!r} is there, with {messages} messages, but not wanted",
                "Delete it once it is empty: rabbitmqctl delete_queue NAME.",
            )


def _say(binding: Binding) -> str:
    return f"binding {binding.exchange!r} -> {binding.queue!r} by {binding.routing_key!r}"


def _compare_by_declaring(config: MessagingConfig, wanted: Topology) -> Comparison:
    differences: list[Difference] = []
    not_compared = ["bindings and left-over queues: set RABBITMQ_MANAGEMENT_URL"]
    exchanges_and_queues: tuple[Exchange | Queue, ...] = (*wanted.exchanges, *wanted.queues)
    try:
        with amqp.open_blocking(config, name="topology") as connection:
            for it in exchanges_and_queues:
                what = f"{'queue' if isinstance(it, Queue) else 'exchange'} {it.name!r}"
                # Looking first: declaring alone would create what is missing.
                refusal = _declare(connection, it, passive=True) or _declare(connection, it, passive=False)
                if refusal is None:
                    continue
                if refusal.reply_code == 404:
                    differences.append(Difference(f"{what} is missing", _APPLY))
                elif refusal.reply_code == 403:
                    not_compared.append(f"{what}: this user has no permission to declare")
                else:
                    differences.append(Difference(topology.conflict_sentence(what, refusal.reply_text), ""))
    except (pika.exceptions.AMQPError, OSError) as error:
        raise BrokerUnavailableError(f"RabbitMQ went away: {error!r}") from error
    return Comparison(tuple(differences), tuple(not_compared))


def _declare(
    connection: BlockingConnection, it: Exchange | Queue, *, passive: bool
) -> pika.exceptions.ChannelClosedByBroker | None:
    """The broker's refusal, which costs the channel; None when there is none."""
    channel = connection.channel()
    try:
        if isinstance(it, Queue):
            channel.queue_declare(it.name, passive=passive, durable=True, arguments=it.arguments)
        else:
            channel.exchange_declare(it.name, it.kind, passive=passive, durable=True)
    except pika.exceptions.ChannelClosedByBroker as error:
        return error
    channel.close()
    return None
