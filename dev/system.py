"""What `make run` runs, where, and with which settings.

`.env` in the project's root, or the environment, may point it to other servers (RABBITMQ_URL, ORDER_DATABASE_URL,
PROCESSOR_DATABASE_URL) and to other ports, and may set whatever the services read. The environment wins.
"""

import os
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from urllib.parse import urlsplit

import environ

from dev import data
from dev.environment import BIN, OPEN_API, ORDER, PLAIN_HTTP, PROCESSOR, ROOT, SERVICES, Service
from dev.processes import is_taken
from dev.servers import PASSWORD, USER, PostgreSQL, RabbitMQ, Server
from dev.supervisor import Member

# PostgreSQL's is not 5432: on many machines the system's own listens there.
DEFAULT_PORTS = {
    **{service.port_variable: service.default_port for service in SERVICES},
    "POSTGRES_PORT": 15432,
    "RABBITMQ_PORT": 5672,
    "RABBITMQ_MANAGEMENT_PORT": 15672,
}

DEFAULTS = {
    # As in production, except for what a laptop lacks. DEBUG stays off: it would keep SQL statements in memory, which
    # processes that run all day should not, and hide what clients see of an error.
    "DEBUG": "false",
    "SECRET_KEY": "only-for-development-" + "0" * 50,
    "ALLOWED_HOSTS": "localhost,127.0.0.1,[::1]",
    "LOG_FORMAT": "text",
    **PLAIN_HTTP,
    **OPEN_API,
}


class StartError(Exception):
    """The system cannot start; the message says why."""


class System:
    """The servers, unless the developer has given others, and the processes of the services."""

    def __init__(self, services: Sequence[Service] = SERVICES) -> None:
        """Runs only these `services`, but always has the databases of both. Raises StartError for a bad port."""
        self.services = services
        environ.Env.read_env(ROOT / ".env")
        self.ports = {variable: _port(variable, default) for variable, default in DEFAULT_PORTS.items()}
        folder = data.servers_folder()
        self.postgresql: PostgreSQL | None = None
        if not all(self.given_database(service) for service in SERVICES):
            self.postgresql = PostgreSQL(folder / "postgresql", port=self.ports["POSTGRES_PORT"])
        self.rabbitmq: RabbitMQ | None = None
        if not os.environ.get("RABBITMQ_URL"):
            self.rabbitmq = RabbitMQ(
                folder / "rabbitmq",
                port=self.ports["RABBITMQ_PORT"],
                management_port=self.ports["RABBITMQ_MANAGEMENT_PORT"],
            )

    @property
    def servers(self) -> list[Server]:
        """Our own servers, in the order in which they start."""
        return [server for server in (self.postgresql, self.rabbitmq) if server is not None]

    def given_database(self, service: Service) -> str:
        """The URL that the developer has given; empty when this service gets a database of our own."""
        return os.environ.get(service.database_variable, "")

    def check_ports(self) -> None:
        """Raises StartError, which names each port that is taken or wanted twice, and the variable that changes it."""
        needed = [service.port_variable for service in self.services]
        needed += ["POSTGRES_PORT"] if self.postgresql else []
        needed += ["RABBITMQ_PORT", "RABBITMQ_MANAGEMENT_PORT"] if self.rabbitmq else []
        same = [
            f"Port {self.ports[one]} is that of {one} and of {other}."
            for one, other in combinations(needed, 2)
            if self.ports[one] == self.ports[other]
        ]
        taken = same + [
            f"Port {self.ports[variable]} is taken; {variable}, in the environment or in .env, moves it."
            for variable in needed
            if is_taken(self.ports[variable])
        ]
        if taken:
            raise StartError("\n".join(taken))

    def url(self, service: Service) -> str:
        return f"http://localhost:{self.ports[service.port_variable]}"

    def environment(self, service: Service) -> dict[str, str]:
        """What this service's processes get: DEFAULTS, over these the developer's own, then what is fixed here."""
        # Four processes cannot share one METRICS_PORT.
        foreign = ("DJANGO_SETTINGS_MODULE", "METRICS_PORT")
        own = {name: value for name, value in os.environ.items() if name not in foreign}
        fixed = {
            "DATABASE_URL": self.given_database(service),
            "PORT": str(self.ports[service.port_variable]),
            "PROCESSOR_API_URL": self.url(PROCESSOR),
            "ORDERS_API_URL": self.url(ORDER),
            "PROCESSOR_ADMIN_URL": f"{self.url(PROCESSOR)}/admin/",
            "ORDERS_ADMIN_URL": f"{self.url(ORDER)}/admin/",
            "PYTHONUNBUFFERED": "1",
        }
        if self.postgresql and not self.given_database(service):
            fixed["DATABASE_URL"] = self.postgresql.database_url(service.name)
        if self.rabbitmq:
            fixed["RABBITMQ_URL"] = self.rabbitmq.url
            fixed["RABBITMQ_MANAGEMENT_URL"] = self.rabbitmq.management_url
        environment = DEFAULTS | own | fixed
        # The services call each other at localhost, and we ask them there whether they are up.
        return environment | {"ALLOWED_HOSTS": f"{environment['ALLOWED_HOSTS']},localhost"}

    def members(self) -> list[Member]:
        """Three processes of each service, started by the same commands as anywhere else."""
        members = []
        for service in self.services:
            # Open to this machine only: anybody may post, and everybody knows the admin's password.
            bind = f"127.0.0.1:{self.ports[service.port_variable]}"
            commands: dict[str, list[str | Path]] = {
                "consume": [BIN / "python", "manage.py", "consume"],
                "relay": [BIN / "python", "manage.py", "relay"],
                "web": [BIN / "gunicorn", f"{service.package}.wsgi", "--bind", bind],
            }
            env = self.environment(service)
            members += [Member(f"{service.name}-{role}", commands[role], service.folder, env) for role in commands]
        return members

    def table(self) -> str:
        """Where everything is, and who may log in."""
        lines = [f"  {name:<19} {where:<34} {login}".rstrip() for name, where, login in self._rows()]
        if ORDER in self.services:
            body = '{"customer_id": "CUST-1", "items": [{"product_id": "PROD-1", "quantity": 2, "price": 19.99}]}'
            lines += ["", f"  curl -i {self.url(ORDER)}/orders -H 'Content-Type: application/json' -d '{body}'"]
        return "\n".join(["", *lines, "", "  Ctrl-C ends everything.", ""])

    def _rows(self) -> Iterator[tuple[str, str, str]]:
        for service, name, path in ((ORDER, "orders", "orders"), (PROCESSOR, "records", "records")):
            if service in self.services:
                yield name, f"{self.url(service)}/{path}", "open to anybody (API_AUTH_REQUIRED=false)"
                yield "  documentation", f"{self.url(service)}/docs", ""
                yield "  admin", f"{self.url(service)}/admin/", "admin / admin"
        if self.rabbitmq:
            yield "RabbitMQ", f"http://localhost:{self.rabbitmq.management_port}", f"{USER} / {PASSWORD}"
        else:
            yield "RabbitMQ", urlsplit(os.environ["RABBITMQ_URL"]).hostname or "", "given by RABBITMQ_URL"
        for service in SERVICES:
            name = f"{service.name} database"
            if url := self.given_database(service):
                yield name, urlsplit(url).hostname or "", f"given by {service.database_variable}"
            else:
                yield name, f"127.0.0.1:{self.ports['POSTGRES_PORT']}/{service.name}", f"{USER} / {PASSWORD}"
        if self.servers:
            yield "data", str(self.servers[0].folder.parent), ""


def _port(variable: str, default: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise StartError(f"{variable} is {text!r}, which is no port.")
    return int(text)
