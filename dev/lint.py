"""All checks that run no test: `python -m dev.lint`. Every one of them runs; the exit code says whether all passed."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dev.environment import BIN, ROOT, SERVICES

PACKAGES = [
    "benchmarks", "contracts", "dashboard", "database", "desk", "dev", "httpapi", "ledger", "messaging",
    "observability", "serving", "tests", "timeline", "torture",
]  # fmt: skip
SHARED = [*PACKAGES, "conftest.py"]

# Settings as in production, for checks that connect to nothing.
PRODUCTION = {
    "DATABASE_URL": "postgres://user:password@database.invalid/name",
    "RABBITMQ_URL": "amqps://user:password@broker.invalid/",
    "RABBITMQ_MANAGEMENT_URL": "https://user:password@broker.invalid",
    "SECRET_KEY": "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "ALLOWED_HOSTS": "orders.example.com",
    "DEBUG": "false",
}


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    command: list[str | Path]
    folder: Path = ROOT
    env: Mapping[str, str] = field(default_factory=dict)


def checks() -> Iterator[Check]:
    python = BIN / "python"
    yield Check("ruff check", [BIN / "ruff", "check", "--quiet", "."])
    yield Check("ruff format", [BIN / "ruff", "format", "--check", "--quiet", "."])
    yield Check("locked requirements", [python, "-m", "dev.locked"])
    path = os.pathsep.join(str(service.folder) for service in SERVICES)
    yield Check("walls", [BIN / "lint-imports", "--no-logo"], env={"PYTHONPATH": path})
    yield _mypy("shared", SHARED, ROOT, "dev.test_settings")
    for service in SERVICES:
        name = service.name
        yield _mypy(name, ["."], service.folder, f"{service.package}.settings")
        manage: list[str | Path] = [python, "manage.py"]
        yield Check(f"{name}: migrations", [*manage, "makemigrations", "--check", "--dry-run"], service.folder)
        deploy = [*manage, "check", "--deploy", "--fail-level", "WARNING"]
        yield Check(f"{name}: check --deploy", deploy, service.folder)


def main() -> None:
    failed = [check.name for check in checks() if not _passes(check)]
    if failed:
        sys.exit(f"lint failed: {', '.join(failed)}")


def _mypy(name: str, what: list[str], folder: Path, settings: str) -> Check:
    options: list[str | Path] = ["--config-file", ROOT / "pyproject.toml", "--no-error-summary"]
    # A cache for each, since with other settings the same module has other types.
    command = [BIN / "mypy", *options, "--cache-dir", ROOT / ".mypy_cache" / name, *what]
    return Check(f"mypy {name}", command, folder, {"DJANGO_SETTINGS_MODULE": settings, "MYPYPATH": str(ROOT)})


def _passes(check: Check) -> bool:
    started = time.monotonic()
    done = subprocess.run(
        [str(part) for part in check.command],
        cwd=check.folder,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **PRODUCTION, **check.env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    print(
        f"{'ok    ' if done.returncode == 0 else 'FAILED'} {check.name} ({time.monotonic() - started:.1f} s)",
        flush=True,
    )
    if done.returncode:
        print(done.stdout + done.stderr, flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    main()
