"""Checks everything that has to hold before a change goes in: `python -m dev.test [arguments for pytest]`.

Lint, types and all test suites, on one private PostgreSQL and one private RabbitMQ that are removed with their data at
the end, even after Ctrl-C. Every suite runs; the exit code says whether all passed.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dev.environment import ROOT, SERVICES
from dev.processes import end, leaving_nothing_behind, raise_on_termination, spawn
from dev.pytest_servers import temporary_servers
from dev.servers import ServerError

NOTHING_COLLECTED = 5
"""pytest's exit code when no test matches, as in most suites with `-k`."""


@dataclass(frozen=True, slots=True)
class Suite:
    name: str
    folder: Path
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    name: str
    passed: bool
    ran: bool
    summary: str
    seconds: float


SUITES = [
    Suite("contracts", ROOT, ("contracts",)),
    Suite(
        "shared",
        ROOT,
        ("dashboard", "database", "desk", "httpapi", "ledger", "messaging", "observability", "serving", "timeline"),
    ),
    *(Suite(service.name, service.folder) for service in SERVICES),
    Suite("dev", ROOT, ("dev",)),
]
SYSTEM = Suite("system", ROOT, ("tests",))
"""Takes as long as all others together, but mostly waits: so it runs beside them."""


def main(arguments: list[str]) -> None:
    raise_on_termination()
    try:
        with leaving_nothing_behind(), _servers() as environment, _started(SYSTEM, arguments, environment) as system:
            results = [_lint(), *(_run(suite, arguments, environment) for suite in SUITES), _finish(system)]
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except ServerError as error:
        sys.exit(str(error))
    print()
    for result in results:
        verdict = "ok    " if result.passed else "FAILED"
        print(f"{verdict} {result.name:<10} {result.seconds:6.1f} s  {result.summary}")
    if not any(result.ran for result in results[1:]):
        sys.exit("no test matches")
    sys.exit(0 if all(result.passed for result in results) else 1)


@contextmanager
def _servers() -> Iterator[dict[str, str]]:
    """The environment by which all suites share one PostgreSQL and one RabbitMQ (see dev/pytest_servers.py)."""
    with temporary_servers() as servers:
        environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
        yield environment | {
            "TEST_DATABASE_URL": servers.database_url,
            "TEST_RABBITMQ_URL": servers.rabbitmq_url,
            "TEST_RABBITMQ_MANAGEMENT_URL": servers.management_url,
        }


def _lint() -> Result:
    print("── lint", flush=True)
    started = time.monotonic()
    code = subprocess.run([sys.executable, "-m", "dev.lint"], cwd=ROOT, check=False).returncode
    return Result("lint", code == 0, True, "", time.monotonic() - started)


@dataclass(frozen=True, slots=True)
class Started:
    suite: Suite
    process: subprocess.Popen[bytes]
    output: IO[bytes]
    at: float


@contextmanager
def _started(suite: Suite, arguments: list[str], environment: dict[str, str]) -> Iterator[Started]:
    """The running suite. The end of the block ends it like Ctrl-C, so that pytest drops its database first."""
    command: list[str | Path] = [sys.executable, "-m", "pytest", "-q", *suite.paths, *arguments]
    if sys.stdout.isatty():
        command.append("--color=yes")
    with tempfile.TemporaryFile() as output:
        started = time.monotonic()
        process = spawn(command, cwd=suite.folder, env=environment, output=output)
        try:
            yield Started(suite, process, output, started)
        finally:
            end(process, by=signal.SIGINT)


def _run(suite: Suite, arguments: list[str], environment: dict[str, str]) -> Result:
    with _started(suite, arguments, environment) as started:
        return _finish(started)


def _finish(started: Started) -> Result:
    """Shows what the suite has said and says, until it ends."""
    print(f"── {started.suite.name}", flush=True)
    summary, position = "", 0
    running = True
    while running:
        running = started.process.poll() is None
        said = os.pread(started.output.fileno(), 65536, position)
        if said:
            running = True
            position += len(said)
            sys.stdout.buffer.write(said)
            sys.stdout.flush()
            lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
            summary = lines[-1] if lines else summary
        elif running:
            time.sleep(0.1)
    code = started.process.returncode
    return Result(
        started.suite.name,
        code in (0, NOTHING_COLLECTED),
        code != NOTHING_COLLECTED,
        re.sub(r"\x1b\[[0-9;]*m", "", summary).strip("= "),
        time.monotonic() - started.at,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
