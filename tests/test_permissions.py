"""The permissions in deploy/rabbitmq/definitions.json are enough for all that the processes do."""

import json
from collections.abc import Iterator
from contextlib import closing
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import pytest

from dev.environment import ORDER, PROCESSOR, ROOT, SERVICES
from dev.servers.rabbitmq import manage
from tests.broker import EXCHANGE
from tests.system import ADMIN_USER, System

DEFINITIONS = json.loads((ROOT / "deploy" / "rabbitmq" / "definitions.json").read_text())
PREFIXES = {ORDER: "orders", PROCESSOR: "processor"}


@pytest.fixture
def users(own_system: System) -> Iterator[dict[str, str]]:
    """The broker's address for each user of that file, by name. It is imported for the system's virtual host."""
    address = urlsplit(own_system.places.rabbitmq)
    management = own_system.places.management
    definitions = deepcopy(DEFINITIONS)
    del definitions["vhosts"]
    for permission in definitions["permissions"]:
        permission["vhost"] = unquote(address.path[1:])
    names = [user["name"] for user in definitions["users"]]
    try:
        manage(management, "POST", "/api/definitions", definitions)
        for user in definitions["users"]:
            manage(management, "PUT", f"/api/users/{user['name']}", {"password": "secret", "tags": user["tags"]})
        yield {
            name: address._replace(netloc=f"{name}:secret@{address.hostname}:{address.port}").geturl() for name in names
        }
    finally:
        for name in names:
            manage(management, "DELETE", f"/api/users/{name}")


def test_orders_failures_and_replays_need_no_more_than_these_permissions(
    own_system: System, users: dict[str, str], tmp_path: Path
) -> None:
    system = own_system
    for service in SERVICES:
        prefix = PREFIXES[service]
        address = system.places.management.rpartition("@")[2]
        places = replace(
            system.places, rabbitmq=users[f"{prefix}-topology"], management=f"http://management:secret@{address}"
        )
        with closing(System(places, tmp_path)) as by_administrator:
            by_administrator.manage(service, "topology", "apply")
            by_administrator.manage(service, "topology", "diff")  # fails if it may not look at something
        for role, user in (("web", "publish"), ("relay", "publish"), ("consume", "consume")):
            system.start(f"{service.name}-{role}", RABBITMQ_URL=users[f"{prefix}-{user}"])
    as_consumer = {"RABBITMQ_URL": users["processor-consume"]}

    system.wait_for_status(system.post_order()["id"], "completed")

    system.restart("processor-consume", SIMULATED_FAILURE_RATE="1", **as_consumer)
    order = system.post_order(correlation_id="few-permissions")
    letter = system.wait_for_dead_letter(PROCESSOR, correlation_id="few-permissions")
    assert letter["attempts"] == 3  # it went down the whole ladder
    system.restart("processor-consume", **as_consumer)
    system.manage(PROCESSOR, "dead_letters", "replay", str(letter["id"]), "--by", ADMIN_USER)
    system.wait_for_status(order["id"], "completed")

    unknown = {"order_id": str(uuid4()), "status": "completed", "error_message": None}
    system.broker.publish(unknown, exchange=EXCHANGE, routing_key="order.processed", correlation_id="nobodys")
    system.wait_for_dead_letter(ORDER, correlation_id="nobodys")

    assert system.orders.get("/health").status_code == 200
    assert not any(program.ended_by_itself for program in system.programs.values())
