"""Where this machine keeps the server programs and the browser. Standard library only."""

import importlib.util
import os
import shutil
from pathlib import Path


def find_postgresql() -> Path | None:
    """The folder with `initdb` and `postgres` of the newest PostgreSQL, or None."""
    # Debian keeps them off the PATH, in one folder for each version.
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = str(debian[-1]) if debian else shutil.which("initdb")
    return Path(found).parent if found else None


def find_rabbitmq() -> Path | None:
    """The `rabbitmq-server` script, or None."""
    # Debian's script on the PATH insists on the system's own user and folders; this one is RabbitMQ's own.
    debian = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    found = str(debian) if debian.exists() else shutil.which("rabbitmq-server", path=_path())
    return Path(found) if found else None


def find_epmd() -> Path | None:
    """Erlang's port mapper, which a RabbitMQ node registers with, or None."""
    found = shutil.which("epmd", path=_path())
    return Path(found) if found else None


def find_ensurepip() -> bool:
    """Whether this Python can make virtual environments. Debian's Python needs another package for that."""
    return importlib.util.find_spec("ensurepip") is not None


def find_chromium() -> Path | None:
    found = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    return Path(found) if found else None


def find_chromedriver() -> Path | None:
    found = shutil.which("chromedriver")
    return Path(found) if found else None


def find_faketime() -> Path | None:
    """libfaketime, which gives a process with threads another clock, or None."""
    # Debian's folder is named after the machine: /usr/lib/x86_64-linux-gnu.
    return next(iter(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"])
