"""The whole system in one terminal until Ctrl-C: `python -m dev.run` (`make run`).

Runs a private PostgreSQL and a private RabbitMQ with their data in `.data`, and web, relay and consumer of both
services. Restarts what dies. Leaves no process behind, however it ends.

With `--servers` (`make servers`) it runs only the servers, with both databases ready, for services that are started by
hand.
"""

import json
import subprocess
import sys
import time
from urllib.error import HTTPError

from dev import data
from dev.console import say, step
from dev.environment import BIN, SERVICES
from dev.processes import end, leaving_nothing_behind, raise_on_termination, spawn
from dev.servers import Server, ServerError
from dev.servers.rabbitmq import DIRECT
from dev.supervisor import Supervisor
from dev.system import StartError, System

SERVER_PAUSE = 10.0
"""Seconds between two attempts to restart a server. Its start alone takes some."""


def main(arguments: list[str]) -> None:
    if arguments not in ([], ["--servers"]):
        sys.exit("usage: python -m dev.run [--servers]")
    raise_on_termination()
    try:
        with leaving_nothing_behind(), data.locked():
            _run(System(services=() if arguments else SERVICES))
    except KeyboardInterrupt:
        say("stopped")
    except (StartError, ServerError, data.InUseError) as error:
        sys.exit(str(error))


def _run(system: System) -> None:
    for server in system.servers:
        server.stop_left_over()
    system.check_ports()
    try:
        _start_servers(system.servers)
        with step("preparing both databases and the queues"):
            _prepare_databases(system)
        _supervise(system)
    finally:
        for server in reversed(system.servers):
            if server.is_running():
                with step(f"stopping {server.name}"):
                    server.stop()


def _start_servers(servers: list[Server]) -> None:
    for server in servers:
        server.launch()
    for server in servers:
        with step(f"starting {server.name}"):
            server.wait()


def _prepare_databases(system: System) -> None:
    """Prepares both at once. Raises StartError with the output of the one that fails."""
    running = []
    for service in SERVICES:
        if system.postgresql and not system.given_database(service):
            system.postgresql.create_database(service.name)
        env = system.environment(service) | {"DJANGO_SETTINGS_MODULE": f"{service.package}.settings"}
        process = spawn([BIN / "python", "-m", "dev.prepare"], cwd=service.folder, env=env, output=subprocess.PIPE)
        running.append((service, process))
    try:
        for service, process in running:
            said, _ = process.communicate()
            if process.returncode:
                raise StartError(f"{service.name} service: {said.decode(errors='replace')[-2000:]}")
    finally:
        for _, process in running:
            end(process, within=0)


def _supervise(system: System) -> None:
    supervisor = Supervisor(system.members())
    started = time.monotonic()
    not_up = [system.url(service) for service in system.services]
    announced = False
    launched_at = dict.fromkeys(system.servers, started)

    def meanwhile() -> None:
        nonlocal announced
        now = time.monotonic()
        for server in system.servers:
            if not server.is_running() and now > launched_at[server] + SERVER_PAUSE:
                supervisor.say(server.name, f"ended; starting it again. What it said last is in {server.log}.1")
                launched_at[server] = now
                server.stop()
                server.launch()
        if announced or any(member.process is None for member in supervisor.members):
            return
        not_up[:] = [url for url in not_up if not _is_up(url)]
        if not not_up:
            announced = True
            say(f"everything is up ({now - started:.1f} s)\n{system.table()}")

    try:
        supervisor.run(meanwhile=meanwhile)
    finally:
        say("\nstopping …")
        supervisor.stop()


def _is_up(url: str) -> bool:
    """Whether this service answers, and says that its relay and its consumer are alive."""
    try:
        with DIRECT.open(f"{url}/health", timeout=5) as answer:
            checks = json.load(answer)["checks"]
    except HTTPError as error:
        error.close()  # left to the garbage collector, it may swallow a Ctrl-C
        return False
    except OSError:
        return False
    return all(checks[role].get("processes") for role in ("relay", "consume"))


if __name__ == "__main__":
    main(sys.argv[1:])
