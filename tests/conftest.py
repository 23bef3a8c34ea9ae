"""Starts the system that the tests look at, and shows the output of its processes when a test fails."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

import pytest

from dev.environment import SERVICES
from dev.processes import raise_on_termination
from dev.pytest_servers import servers
from dev.servers.rabbitmq import create_vhost, delete_vhost
from tests import databases
from tests.browser import Browser, chromium
from tests.system import ADMIN_PASSWORD, ADMIN_USER, Places, System

SHOWN_LINES = 30

_systems: list[System] = []
"""The systems that run now."""
_positions = pytest.StashKey[dict[tuple[System, str], int]]()


def pytest_configure() -> None:
    raise_on_termination()  # so that fixtures end their processes, however the session ends


@contextmanager
def running(places: Places, folder: Path) -> Iterator[System]:
    """A system with nothing started yet. Its processes end with the block."""
    system = System(places, folder)
    _systems.append(system)
    try:
        yield system
    finally:
        _systems.remove(system)
        system.close()


def prepare(system: System) -> None:
    """Prepares its databases, with a user who may log in."""
    system.migrate()
    for service in SERVICES:
        system.create_operator(service)


@contextmanager
def fresh_places() -> Iterator[Places]:
    """Two empty databases and an empty virtual host on the session's servers."""
    where = servers()
    session = uuid4().hex[:8]
    names = [f"system_{service.name}_{session}" for service in SERVICES]
    vhost = f"system_{session}"
    order_database, processor_database = (databases.create(where.database_url, name) for name in names)
    create_vhost(where.management_url, vhost)
    try:
        yield Places(
            order_database=order_database,
            processor_database=processor_database,
            rabbitmq=urlsplit(where.rabbitmq_url)._replace(path=f"/{quote(vhost, safe='')}").geturl(),
            management=where.management_url,
        )
    finally:
        delete_vhost(where.management_url, vhost)
        for name in names:
            databases.drop(where.database_url, name)


@pytest.fixture(scope="session")
def the_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One system for the whole session. Tests use `system`."""
    with fresh_places() as places, running(places, tmp_path_factory.mktemp("system")) as system:
        prepare(system)
        yield system


@pytest.fixture
def system(the_system: System) -> System:
    """The system with all six processes running as they do by default."""
    the_system.heal()
    return the_system


@pytest.fixture(scope="module")
def own_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system for one module only, so that its pages show nothing that other tests have left."""
    with fresh_places() as places, running(places, tmp_path_factory.mktemp("own")) as system:
        prepare(system)
        yield system


@pytest.fixture
def bare_system(tmp_path: Path) -> Iterator[System]:
    """A system on empty databases and an empty virtual host: nothing is migrated, nothing runs."""
    with fresh_places() as places, running(places, tmp_path) as system:
        yield system


@pytest.fixture(scope="session")
def the_browser() -> Iterator[Browser]:
    """One Chromium for the whole session. Tests use `browser`, which a module may replace."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def browser(the_browser: Browser, system: System) -> Browser:
    """A browser that is logged in to both admins, whose cookies do not get in each other's way."""
    the_browser.forget()
    for service in SERVICES:
        the_browser.open(system.admin(service))
        the_browser.fill(username=ADMIN_USER, password=ADMIN_PASSWORD)
        the_browser.screenshot(f"{service.name}-admin-login")
        the_browser.click("[type=submit]")
        the_browser.find("#content")
    return the_browser


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    item.stash[_positions] = {
        (system, name): program.position for system in _systems for name, program in system.programs.items()
    }
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for system in _systems:
            for name, program in system.programs.items():
                said = program.text(item.stash[_positions].get((system, name), 0)).splitlines()
                shown = "\n".join(said[-SHOWN_LINES:])
                if shown:
                    report.sections.append((f"{name}, its last lines of {len(said)} during this test", shown))
    return report
