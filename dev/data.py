"""Where `make run` keeps its data. `python -m dev.data --remove` (`make clean-data`) deletes it."""

import fcntl
import hashlib
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.environment import ROOT

FOLDER = ROOT / ".data"


class InUseError(Exception):
    """Another process works on the data, or the data is another user's; the message says which."""


@contextmanager
def locked() -> Iterator[None]:
    """Nobody else works on the data during the block. Raises InUseError. The lock ends with its holder, in any case."""
    FOLDER.mkdir(exist_ok=True)
    if FOLDER.stat().st_uid != os.getuid():  # even root: it would leave files there that this user cannot use
        raise InUseError(f"{FOLDER} is another user's, who has run this before: do it as that user.")
    FOLDER.chmod(0o755)  # the servers' user has to get to its folders in it
    with (FOLDER / "run.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise InUseError(f"`make run` is up already, as process {lock.read().strip() or 'unknown'}.") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def servers_folder() -> Path:
    """The folder for the servers' folders: in `.data`, unless the servers' user cannot get there.

    Under root that user is not root (see `dev.servers`), and cannot enter a project in root's own home. Then the folder
    is in /var/tmp, and `.data/servers` is a link to it.
    """
    FOLDER.mkdir(exist_ok=True)
    inside = FOLDER / "servers"
    if not inside.exists() and os.getuid() == 0 and not all(_open_to_all(folder) for folder in FOLDER.parents):
        outside = Path("/var/tmp") / f"order-processing-{hashlib.sha256(bytes(ROOT)).hexdigest()[:12]}"
        outside.mkdir(exist_ok=True)
        if outside.is_symlink() or outside.stat().st_uid != os.getuid():  # anybody may write to /var/tmp
            raise InUseError(f"{outside} is not ours: remove it, or move the project out of a closed folder.")
        outside.chmod(0o755)
        inside.unlink(missing_ok=True)
        inside.symlink_to(outside)
    inside.mkdir(exist_ok=True)
    return inside.resolve()


def remove() -> None:
    """Forget all orders. Raises InUseError while `make run` is up."""
    with locked():
        shutil.rmtree(servers_folder(), ignore_errors=True)
    shutil.rmtree(FOLDER)


def _open_to_all(folder: Path) -> bool:
    return bool(folder.stat().st_mode & stat.S_IXOTH)


if __name__ == "__main__":
    if sys.argv[1:] != ["--remove"]:
        sys.exit("usage: python -m dev.data --remove")
    try:
        remove()
    except InUseError as error:
        sys.exit(str(error))
