"""Installs the drawing tools when something is drawn: development does not need them.

They go into a folder of their own inside `.venv`, whose own packages stay exactly those that are locked for it.
"""

import hashlib
import shutil
import subprocess
import sys

from dev.environment import ROOT

FOLDER = ROOT / ".venv" / "plot"
_LOCK = ROOT / "requirements" / "bench.txt"
_STAMP = FOLDER / "made-of"


def install() -> str:
    """Installs them into `FOLDER`, once. Returns what went wrong, if anything."""
    wanted = hashlib.sha256(_LOCK.read_bytes()).hexdigest()
    if _STAMP.exists() and _STAMP.read_text() == wanted:
        return ""
    print("installing what draws …", file=sys.stderr, flush=True)
    shutil.rmtree(FOLDER, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-qq", "--require-hashes"]
    done = subprocess.run(
        [*pip, "--target", str(FOLDER), "-r", str(_LOCK)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return done.stderr.strip()[-1000:]
    _STAMP.write_text(wanted)
    return ""
