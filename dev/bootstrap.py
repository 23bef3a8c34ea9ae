"""Makes `.venv`: `python3.12 -m dev.bootstrap`. Standard library only, for any Python from 3.12 on.

Every package is the locked one, checked against its hash. Does nothing when `.venv` is what it should be.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

from dev import packages
from dev.environment import ROOT

VENV = ROOT / ".venv"
LOCK = ROOT / "requirements" / "dev.txt"
STAMP = VENV / "made-of"


def main() -> None:
    with LOCK.open() as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)  # `make run` and `make test` may be started at the same moment
        if not STAMP.exists() or STAMP.read_text() != _ingredients():
            _make()


def _ingredients() -> str:
    """What `.venv` depends on: the locked packages, this Python, and where the project is."""
    locked = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    return f"{locked}\n{sys.version}\n{ROOT}\n"


def _make() -> None:
    started = time.monotonic()
    print("making .venv …", flush=True)
    packages.main(["venv"])
    _run(sys.executable, "-m", "venv", "--clear", VENV)
    print("installing the locked Python packages …", flush=True)
    pip: list[str | Path] = [VENV / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
    _run(*pip, "--require-hashes", "-r", LOCK)
    # Only puts the project's root on the path: what it needs is installed above, setuptools included.
    _run(*pip, "--no-deps", "--no-build-isolation", "--config-settings", "editable_mode=compat", "--editable", ROOT)
    STAMP.write_text(_ingredients())
    print(f"made .venv ({time.monotonic() - started:.0f} s)", flush=True)


def _run(*command: str | Path) -> None:
    # The caller's PYTHONPATH or active environment must not affect what is installed here.
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    if code:
        sys.exit(f"`{' '.join(map(str, command))}` failed; what it said stands above.")


if __name__ == "__main__":
    main()
