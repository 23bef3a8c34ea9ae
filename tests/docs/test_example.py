"""The examples of docs/architecture.md work as they stand there."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dev.environment import ROOT
from dev.processes import end, spawn
from dev.pytest_servers import servers
from tests import databases
from tests.docs.pages import files
from tests.system import System, new_order

ARCHITECTURE = ROOT / "docs" / "architecture.md"


def write_out(folder: str, where: Path) -> None:
    found = files(ARCHITECTURE, folder)
    assert found, f"{ARCHITECTURE} has no files of {folder}"
    for name, code in found.items():
        path = where / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)


def test_a_rule_of_ones_own_fails_an_order_with_its_reason(system: System, tmp_path: Path) -> None:
    write_out("shop", tmp_path)
    steps = "processing.steps.validate,processing.steps.limit_total,shop.rules.no_tobacco"
    system.restart("processor-consume", PROCESSING_STEPS=steps, PYTHONPATH=str(tmp_path))

    refused = system.orders.post("/orders", json=new_order(product_id="tobacco-1")).json()
    taken = system.post_order()

    assert system.wait_for_status(refused["id"], "failed")["error_message"] == "We do not sell tobacco."
    system.wait_for_status(taken["id"], "completed")


def test_a_service_of_ones_own_hears_of_an_order_and_announces_its_event_once(system: System, tmp_path: Path) -> None:
    write_out("shipping", tmp_path)
    raise_version(tmp_path / "shipping" / "events.py")

    with shipping_service(system, tmp_path), system.broker.tap() as tap:
        completed = system.post_order()
        failed = system.orders.post("/orders", json=new_order(price=100_000.01)).json()
        system.wait_for_status(failed["id"], "failed")
        planned = system.wait(lambda: tap.events("shipment.planned", completed["id"]), "shipment.planned")

        # Announced again under another id: the unique key of the example has to hold.
        [processed] = tap.events("order.processed", completed["id"])
        system.broker.publish(processed.body, routing_key="shipping.events.v1", type="order.processed")
        next_one = system.post_order()
        system.wait(lambda: tap.events("shipment.planned", next_one["id"]), "the next shipment.planned")
        assert len(tap.events("shipment.planned", completed["id"])) == 1
        assert tap.events("shipment.planned", failed["id"]) == []

    assert planned[0].properties.correlation_id == processed.properties.correlation_id
    assert planned[0].properties.app_id == "shipping"
    assert planned[0].properties.headers["schema-version"] == 2


def raise_version(events: Path) -> None:
    """What the runbook says to do when an event breaks its readers. One that names no version has the first."""
    code, of_type = events.read_text(), 'TYPE: ClassVar[str] = "shipment.planned"'
    assert of_type in code
    events.write_text(code.replace(of_type, f"{of_type}\n    SCHEMA_VERSION: ClassVar[int] = 2"))


@contextmanager
def shipping_service(system: System, folder: Path) -> Iterator[None]:
    """The example service: migrated, with its relay and its consumer running."""
    name = f"shipping_{os.getpid()}"
    django = [sys.executable, "-m", "django"]
    with ExitStack() as stack:
        env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(folder),
            "DJANGO_SETTINGS_MODULE": "shipping_project.settings",
            "DATABASE_URL": databases.create(servers().database_url, name),
            "RABBITMQ_URL": system.places.rabbitmq,
            "RABBITMQ_MANAGEMENT_URL": system.places.management,
            "SECRET_KEY": "only-for-tests",
        }
        stack.callback(databases.drop, servers().database_url, name)
        stack.callback(forget_queues, system)
        # Its queue gets no events from before it is bound.
        for command in (["makemigrations", "shipping"], ["migrate"], ["topology", "apply"]):
            subprocess.run([*django, *command], cwd=folder, env=env, check=True, capture_output=True, timeout=60)
        diff = [*django, "topology", "diff"]
        said = subprocess.run(diff, cwd=folder, env=env, check=True, capture_output=True, text=True, timeout=60).stdout
        assert said == "The broker has what this service needs.\n"
        for role in ("consume", "relay"):
            log = stack.enter_context((folder / f"{role}.log").open("wb"))
            process = spawn([*django, role], cwd=folder, env=env, output=log, orphan_signal=signal.SIGKILL)
            stack.callback(end, process)
        yield


def forget_queues(system: System) -> None:
    """Deletes the queues that would go on collecting events for the rest of the session."""
    with system.broker.channel() as channel:
        for queue in system.broker.queues():
            if queue.startswith("shipping."):
                channel.queue_delete(queue)
