"""Installs the Debian packages that running and testing need: `python -m dev.packages servers browser`.

Standard library only. What is already there is left alone. What is missing is installed through apt, without leaving
system servers running: the project starts its own, and the system's would only hold their ports.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dev import programs

# What each group needs: a function that finds it, and the Debian package that brings it.
GROUPS: dict[str, tuple[tuple[Callable[[], object], str], ...]] = {
    "venv": ((programs.find_ensurepip, f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"),),
    "servers": ((programs.find_postgresql, "postgresql"), (programs.find_rabbitmq, "rabbitmq-server")),
    "browser": ((programs.find_chromium, "chromium"), (programs.find_chromedriver, "chromium-driver")),
    "faketime": ((programs.find_faketime, "faketime"),),
}
# The services that the system would start because of these packages, at once and at every boot.
SYSTEM_SERVICES = {"postgresql": ["postgresql"], "rabbitmq-server": ["rabbitmq-server", "epmd"]}


def main(groups: list[str]) -> None:
    """Install what this machine lacks of `groups`. Ends the process with one sentence when it cannot."""
    packages = [package for group in groups for find, package in GROUPS[group] if not find()]
    if not packages:
        return
    names = " and ".join(packages)
    if not shutil.which("apt-get"):
        sys.exit(f"Install {names} with this machine's package manager{_instead(groups)}.")
    if os.getuid() != 0:
        if not _can_sudo():
            sys.exit(f"Run `sudo apt-get install {' '.join(packages)}` first{_instead(groups)}.")
        # Not exec: `make` goes on after this, so this process must return.
        code = subprocess.run(["sudo", "-n", sys.executable, "-m", "dev.packages", *groups], check=False).returncode
        if code:
            sys.exit(code)
        return
    started = time.monotonic()
    print(f"installing {names} …", flush=True)
    with _uninterrupted(), _no_servers_started():
        _apt("update")
        _apt("install", "-y", "--no-install-recommends", *packages)
    services = [service for package in packages for service in SYSTEM_SERVICES.get(package, [])]
    _disable(services)
    off = "; their system services are switched off" if services else ""
    print(f"installed {names} ({time.monotonic() - started:.0f} s){off}", flush=True)


def _instead(groups: list[str]) -> str:
    return "; `docker compose up` needs none of it" if "servers" in groups else ""


def _can_sudo() -> bool:
    if not shutil.which("sudo"):
        return False
    return subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0


@contextmanager
def _no_servers_started() -> Iterator[None]:
    """Keeps packages from starting their servers, and PostgreSQL's from making a cluster that would start at boot."""
    forbid = {
        Path("/usr/sbin/policy-rc.d"): "#!/bin/sh\nexit 101\n",
        Path("/etc/postgresql-common/createcluster.d/project.conf"): "create_main_cluster = false\n",
    }
    # A policy that exists already stays as it is: containers and images usually have this very one.
    ours = [path for path in forbid if not path.exists()]
    try:
        for path in ours:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(forbid[path])
            path.chmod(0o755)
        yield
    finally:
        for path in ours:
            path.unlink(missing_ok=True)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C and the like wait for the end of the block: amid an installation they would break apt for good."""
    caught: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda number, _: caught.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if caught:
        sys.exit("interrupted, after the packages were installed")


def _apt(*arguments: str) -> None:
    command = ["apt-get", "-q", *arguments]
    # A file, not a pipe: a daemon that a package starts would hold a pipe open for ever.
    with tempfile.TemporaryFile("w+") as log:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=False,
            start_new_session=True,  # so that a terminal's Ctrl-C reaches only us
        )
        if done.returncode:
            log.seek(0)
            sys.exit(f"{log.read()[-2000:]}\n`{' '.join(command)}` failed; what it said stands above.")


def _disable(services: list[str]) -> None:
    if not services:
        return
    if shutil.which("systemctl"):
        subprocess.run(["systemctl", "disable", "--quiet", *services], capture_output=True, check=False)
    elif shutil.which("update-rc.d"):
        for service in services:
            subprocess.run(["update-rc.d", service, "disable"], capture_output=True, check=False)


if __name__ == "__main__":
    main(sys.argv[1:])
