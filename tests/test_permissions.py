"""What the runbook says that a user of the broker must be allowed at least is enough for all that a process does."""

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, urlsplit
from uuid import uuid4

import pytest

from dev.environment import ORDER, PROCESSOR, ROOT, SERVICES, Service
from dev.servers.rabbitmq import manage
from tests.broker import EXCHANGE
from tests.system import ADMIN_USER, System

PAGE = ROOT / "docs" / "operations.md"
DECLARING = "manage.py topology apply"


def documented(service: Service) -> dict[str, dict[str, str]]:
    """What each kind of process may configure, write and read, by the table of the runbook."""
    section = PAGE.read_text().partition("### Users with few permissions\n")[2].partition("\n#")[0]
    allowed = {}
    for row in re.findall(r"^\| (`.+)\|$", section, re.MULTILINE):
        roles, *patterns = (cell.strip() for cell in re.split(r"(?<!\\)\|", row))
        patterns = [pattern.strip("`").replace(r"\|", "|") for pattern in patterns]
        patterns = [patterns[0] if pattern == "the same" else pattern for pattern in patterns]
        if service is ORDER:
            patterns = [pattern.replace("processor", "orders") for pattern in patterns]
        for role in roles.split(", "):
            allowed[role.strip("`")] = dict(zip(("configure", "write", "read"), patterns, strict=True))
    return allowed


@pytest.fixture
def users(own_system: System) -> Iterator[dict[tuple[Service, str], str]]:
    """By service and role: the broker's address for a user that may do this and nothing else."""
    places = own_system.places
    address = urlsplit(places.rabbitmq)
    urls = {}
    made = []
    try:
        for service in SERVICES:
            for role, permissions in documented(service).items():
                name = f"few-{uuid4().hex[:12]}"
                manage(places.management, "PUT", f"/api/users/{name}", {"password": "secret", "tags": ""})
                made.append(name)
                manage(places.management, "PUT", f"/api/permissions/{address.path[1:]}/{name}", permissions)
                urls[service, role] = address._replace(
                    netloc=f"{quote(name)}:secret@{address.hostname}:{address.port}"
                ).geturl()
        yield urls
    finally:
        for name in made:
            manage(places.management, "DELETE", f"/api/users/{name}")


def test_orders_failures_and_replays_need_no_more_than_the_documented_permissions(
    own_system: System, users: dict[tuple[Service, str], str], tmp_path: Path
) -> None:
    system = own_system
    for service in SERVICES:
        declaring = replace(system.places, rabbitmq=users[service, DECLARING])
        with closing(System(declaring, tmp_path)) as by_administrator:
            by_administrator.manage(service, "topology", "apply")
        for role in ("web", "relay", "consume"):
            system.start(f"{service.name}-{role}", RABBITMQ_URL=users[service, role])
    as_consumer = {"RABBITMQ_URL": users[PROCESSOR, "consume"]}

    system.wait_for_status(system.post_order()["id"], "completed")

    system.restart("processor-consume", SIMULATED_FAILURE_RATE="1", **as_consumer)
    order = system.post_order(correlation_id="few-permissions")
    letter = system.wait_for_dead_letter(PROCESSOR, correlation_id="few-permissions")
    assert letter["attempts"] == 3  # down the whole ladder
    system.restart("processor-consume", **as_consumer)
    system.manage(PROCESSOR, "dead_letters", "replay", str(letter["id"]), "--by", ADMIN_USER)
    system.wait_for_status(order["id"], "completed")

    unknown = {"order_id": str(uuid4()), "status": "completed", "error_message": None}
    system.broker.publish(unknown, exchange=EXCHANGE, routing_key="order.processed", correlation_id="nobodys")
    system.wait_for_dead_letter(ORDER, correlation_id="nobodys")

    assert system.orders.get("/health").status_code == 200
    assert not any(program.ended_by_itself for program in system.programs.values())
