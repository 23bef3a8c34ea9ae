"""Real servers for a pytest session: called from the `pytest_configure` of each suite's conftest.

`make test` starts one PostgreSQL and one RabbitMQ for all suites and names them in TEST_DATABASE_URL,
TEST_RABBITMQ_URL and TEST_RABBITMQ_MANAGEMENT_URL. Without these a session starts its own and stops them at its end.
"""

import atexit
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import quote, urlsplit
from uuid import uuid4

import django
import environ

from dev.environment import OPEN_API, PLAIN_HTTP
from dev.processes import raise_on_termination
from dev.servers import PostgreSQL, RabbitMQ, temporary_folder
from dev.servers.rabbitmq import create_vhost, delete_vhost


@dataclass(frozen=True, slots=True)
class Servers:
    """Where this session's servers are. Comes from `servers()`."""

    database_url: str
    """A database of the PostgreSQL, with a user who may create others."""
    rabbitmq_url: str
    """The broker's default virtual host."""
    management_url: str
    """The HTTP API of the broker's management plugin, with credentials."""


_servers: Servers | None = None


def servers() -> Servers:
    """This session's PostgreSQL and RabbitMQ: the ones the environment names, else private ones that stop at exit."""
    global _servers  # one pair for the process, started by the first call
    if _servers is None:
        if "TEST_DATABASE_URL" in os.environ and "TEST_RABBITMQ_URL" in os.environ:
            _servers = Servers(
                database_url=os.environ["TEST_DATABASE_URL"],
                rabbitmq_url=os.environ["TEST_RABBITMQ_URL"],
                management_url=os.environ["TEST_RABBITMQ_MANAGEMENT_URL"],
            )
        else:
            _servers = _start()
    return _servers


def configure(*, settings: str, service: str) -> None:
    """Set Django up as `settings`, on a database name and a virtual host that no other session has.

    pytest-django makes the database and drops it; the virtual host goes at exit. A developer's `.env` is not read.
    """
    where = servers()
    session = f"{service}_{uuid4().hex[:8]}"
    create_vhost(where.management_url, session)
    atexit.register(delete_vhost, where.management_url, session)
    os.environ |= {
        "DATABASE_URL": urlsplit(where.database_url)._replace(path=f"/{session}").geturl(),
        "RABBITMQ_URL": urlsplit(where.rabbitmq_url)._replace(path=f"/{quote(session, safe='')}").geturl(),
        "RABBITMQ_MANAGEMENT_URL": where.management_url,
        "SECRET_KEY": "only-for-tests-" + "0" * 50,
        "DEBUG": "false",
        "ALLOWED_HOSTS": "localhost,127.0.0.1,testserver",
        "LOG_LEVEL": "INFO",
        "LOG_FORMAT": "json",
        **PLAIN_HTTP,
        **OPEN_API,
        "DJANGO_SETTINGS_MODULE": settings,
    }
    # Else the settings would read what is not set above from the service's `.env`, which is a developer's.
    environ.Env.read_env = staticmethod(lambda *args, **kwargs: None)
    django.setup()


@contextmanager
def temporary_servers() -> Iterator[Servers]:
    """A PostgreSQL and a RabbitMQ that are gone with their data after the block."""
    with temporary_folder() as folder, ExitStack() as stack:
        postgresql, rabbitmq = PostgreSQL(folder / "postgresql"), RabbitMQ(folder / "rabbitmq")
        for server in (postgresql, rabbitmq):
            stack.callback(server.discard)  # not stop(): RabbitMQ takes six seconds to end in order
            server.launch()
        postgresql.wait()
        rabbitmq.wait()
        yield Servers(postgresql.url, rabbitmq.url, rabbitmq.management_url)


def _start() -> Servers:
    raise_on_termination()
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(temporary_servers())
