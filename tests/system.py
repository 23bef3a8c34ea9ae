"""The whole system, running, as its users and operators see it: HTTP, AMQP, commands, logs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from prometheus_client.parser import text_string_to_metric_families

from dev.environment import OPEN_API, ORDER, PLAIN_HTTP, SERVICES, Service
from dev.processes import free_port, is_taken
from tests.broker import Broker
from tests.programs import NAMES, Ended, Program, service_of
from tests.waiting import BOUND, eventually

ADMIN_USER, ADMIN_PASSWORD = "operator", "only-for-tests"
FINAL = {"completed", "failed"}
RETRY_DELAYS = "200ms,700ms"

_AT_REST = {
    "SECRET_KEY": "only-for-tests-" + "0" * 50,
    "DEBUG": "false",
    "ALLOWED_HOSTS": "127.0.0.1,localhost",
    "LOG_LEVEL": "INFO",
    "LOG_FORMAT": "json",
    "WEB_CONCURRENCY": "2",
    "METRICS_PORT": "0",
    "MESSAGING_BATCH_SIZE": "200",
    "MESSAGING_RETRY_DELAYS": RETRY_DELAYS,
    "PROCESSING_MAX_ORDER_TOTAL": "100000",
    "PROCESSING_STEPS": "processing.steps.validate,processing.steps.limit_total,processing.steps.simulate",
    "SIMULATED_LATENCY_MS": "0",
    "SIMULATED_FAILURE_RATE": "0",
    **PLAIN_HTTP,
    **OPEN_API,
}
"""All that a developer's `.env` could decide otherwise."""


@dataclass(frozen=True, slots=True)
class Places:
    """The servers that a system runs on."""

    order_database: str
    processor_database: str
    rabbitmq: str
    management: str


class System:
    """The six processes, which can be started, stopped and killed one by one, on their own databases and broker."""

    def __init__(self, places: Places, folder: Path) -> None:
        self.places = places
        self.broker = Broker(places.rabbitmq, places.management)
        self._ports = {name: free_port() for name in NAMES}
        self.orders = httpx.Client(base_url=self.url("order-web"), timeout=30)
        self.processor = httpx.Client(base_url=self.url("processor-web"), timeout=30)
        self.programs = {name: Program(name, self.environment(name), folder / f"{name}.log") for name in NAMES}

    def url(self, name: str) -> str:
        """The address at which a web process answers, and any other shows its metrics."""
        return f"http://127.0.0.1:{self._ports[name]}"

    def environment(self, name: str) -> dict[str, str]:
        """The whole environment of a process."""
        service = service_of(name)
        port = "PORT" if name.endswith("-web") else "METRICS_PORT"
        return self._environment_of(service) | {port: str(self._ports[name])}

    def _environment_of(self, service: Service) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "LANG": "C.UTF-8",
            **_AT_REST,
            "DATABASE_URL": self.database_of(service),
            "RABBITMQ_URL": self.places.rabbitmq,
            "RABBITMQ_MANAGEMENT_URL": self.places.management,
            "PROCESSOR_API_URL": self.url("processor-web"),
            "ORDERS_API_URL": self.url("order-web"),
            "PROCESSOR_ADMIN_URL": f"{self.url('processor-web')}/admin/",
            "ORDERS_ADMIN_URL": f"{self.url('order-web')}/admin/",
        }

    def database_of(self, service: Service) -> str:
        """The URL of the service's database."""
        return self.places.order_database if service is ORDER else self.places.processor_database

    def admin(self, service: Service) -> str:
        """The address of the first page of the service's admin."""
        return f"{self.url(f'{service.name}-web')}/admin/"

    # --- Processes

    def migrate(self) -> None:
        for service in SERVICES:
            self.manage(service, "migrate", "--verbosity", "0")

    def start(self, *names: str, **changes: str) -> None:
        """Starts these (all if none is named) with these changes to their environment, and waits until HTTP answers."""
        names = names or NAMES
        for name in names:
            self.programs[name].start(changes)
        for name in names:
            if name.endswith("-web"):
                self.wait(partial(self._answers, name), f"{name} answers")

    def stop(self, name: str) -> Ended:
        return self.programs[name].stop()

    def kill(self, name: str) -> None:
        """SIGKILL. Returns when nothing that it has forked holds its port any more: it can be started again."""
        self.programs[name].kill()
        eventually(lambda: not is_taken(self._ports[name]), f"the orphans of {name} leave")

    def restart(self, name: str, **changes: str) -> None:
        self.stop(name)
        self.start(name, **changes)

    def heal(self) -> None:
        """Brings all six processes back to their defaults, whatever a test has done to them."""
        for program in self.programs.values():
            if program.is_running and program.changes:
                program.stop()
        if ended := [name for name, program in self.programs.items() if not program.is_running]:
            self.start(*ended)

    def close(self) -> None:
        self.orders.close()
        self.processor.close()
        for program in self.programs.values():
            program.close()

    def wait[T](self, look: Callable[[], T | None], what: str, *, within: float = BOUND) -> T:
        """Like `eventually`, but fails at once when a process has ended by itself."""

        def look_at_all() -> T | None:
            for program in self.programs.values():
                assert not program.ended_by_itself, program.ended_by_itself
            return look()

        return eventually(look_at_all, what, within=within)

    def manage(self, service: Service, *arguments: str, fails: bool = False) -> str:
        """Runs a command of `manage.py`, which must succeed or, with `fails`, must fail. Returns its output."""
        done = self.run_command(service, *arguments)
        said = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, f"manage.py {' '.join(arguments)} ended with {done.returncode}: {said}"
        return done.stdout if not fails else said

    def run_command(self, service: Service, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of `manage.py`, however it ends."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=service.folder,
            env=self._environment_of(service)
            | {"DJANGO_SUPERUSER_PASSWORD": ADMIN_PASSWORD, "DJANGO_SUPERUSER_EMAIL": "operator@example.com"},
            capture_output=True,
            text=True,
            timeout=BOUND,
            check=False,
        )

    def create_operator(self, service: Service) -> None:
        """A superuser with ADMIN_USER and ADMIN_PASSWORD."""
        self.manage(service, "createsuperuser", "--noinput", "--username", ADMIN_USER)

    # --- Orders

    def post_order(self, *, correlation_id: str | None = None, **of: Any) -> dict[str, Any]:
        """Places a `new_order` and returns what was answered."""
        headers = {"X-Request-ID": correlation_id} if correlation_id else {}
        answer = self.orders.post("/orders", json=new_order(**of), headers=headers)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def order(self, order_id: str) -> dict[str, Any]:
        answer = self.orders.get(f"/orders/{order_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def record(self, order_id: str) -> dict[str, Any] | None:
        """The processor's record of an order; None when it has none."""
        answer = self.processor.get(f"/records/{order_id}")
        if answer.status_code == 404:
            return None
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def wait_for_status(self, order_id: str, status: str) -> dict[str, Any]:
        """The order, once it has this status. Fails at once when it gets another final one."""

        def look() -> dict[str, Any] | None:
            order = self.order(order_id)
            assert order["status"] in {"pending", status}, f"it is {order['status']}: {order['error_message']}"
            return order if order["status"] == status else None

        return self.wait(look, f"order {order_id} is {status}")

    def wait_for_record(self, order_id: str) -> dict[str, Any]:
        return self.wait(lambda: self.record(order_id), f"a processing record of {order_id}")

    def wait_until_final(self, customer_id: str) -> list[dict[str, Any]]:
        """All orders of a customer, once none of them is pending."""

        def none_pending() -> bool:
            return not self.orders.get(
                "/orders", params={"customer_id": customer_id, "status": "pending", "page_size": 1}
            ).json()["results"]

        self.wait(none_pending, f"all orders of {customer_id} are final", within=2 * BOUND)
        return self.pages(self.orders, "/orders", customer_id=customer_id)

    def records_of(self, customer_id: str) -> list[dict[str, Any]]:
        return self.pages(self.processor, "/records", customer_id=customer_id)

    def pages(self, client: httpx.Client, path: str, **filters: str) -> list[dict[str, Any]]:
        """All results of a list, read to its last page."""
        found: list[dict[str, Any]] = []
        following: str | None = str(client.base_url.join(path).copy_merge_params({**filters, "page_size": 100}))
        while following:
            page = client.get(following).raise_for_status().json()
            found += page["results"]
            following = page["next"]
        return found

    # --- What operators look at

    def dead_letters(self, service: Service, *, status: str = "waiting", **wanted: Any) -> list[dict[str, Any]]:
        """The dead letters that have these values, such as `message_id=…`."""
        lines = self.manage(service, "dead_letters", "list", "--json", "--limit", "0", "--status", status).splitlines()
        return [letter for letter in map(json.loads, lines) if wanted.items() <= letter.items()]

    def wait_for_dead_letter(self, service: Service, **wanted: Any) -> dict[str, Any]:
        what = f"{wanted} is among the dead letters of the {service.name} service"
        return self.wait(lambda: self.dead_letters(service, **wanted), what)[0]

    def metric(self, name: str, sample: str, **labels: str) -> float:
        """The value that a process shows on /metrics now; 0 when it shows none."""
        text = httpx.get(f"{self.url(name)}/metrics", timeout=30).raise_for_status().text
        for family in text_string_to_metric_families(text):
            for found in family.samples:
                if found.name == sample and labels.items() <= found.labels.items():
                    return float(found.value)
        return 0.0

    def wait_for_empty_outboxes(self) -> None:
        for name in ("order-web", "processor-web"):
            self.wait(partial(self._outbox_is_empty, name), f"the outbox of {name} is empty")

    def _outbox_is_empty(self, name: str) -> bool:
        return self.metric(name, "messaging_outbox_messages") == 0

    def _answers(self, name: str) -> bool:
        try:
            return httpx.get(f"{self.url(name)}/health/live", timeout=5).status_code == 200
        except httpx.TransportError:
            return False


def new_order(
    *, customer_id: str | None = None, price: float = 18.5, quantity: int = 2, product_id: str = "espresso-beans-1kg"
) -> dict[str, Any]:
    """A body for POST /orders, of a new customer unless one is named."""
    return {
        "customer_id": customer_id or new_customer(),
        "items": [{"product_id": product_id, "quantity": quantity, "price": price}],
    }


def new_customer() -> str:
    """A name that no other test uses, so that a test only finds what is its own."""
    return f"customer-{uuid4().hex[:12]}"


def new_correlation_id() -> str:
    return f"test-{uuid4().hex}"
