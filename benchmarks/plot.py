"""The picture of docs/performance.md. Its library is not among what developing needs: it is installed when it is drawn.

It goes into a folder of its own inside `.venv`, which itself stays exactly what is locked for it.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.report import Section
from dev.environment import ROOT

_LOCK = ROOT / "requirements" / "bench.txt"
_FOLDER = ROOT / ".venv" / "plot"
_STAMP = _FOLDER / "made-of"


def draw(sections: Sequence[Section], file: Path) -> str:
    """Draws what these sections have, as SVG or PNG. Returns what it has done: nothing, when it could not."""
    if problem := _install():
        return f"no plot was drawn: {problem}"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.drawing", str(file)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(_FOLDER)},
        input=json.dumps([asdict(section) for section in sections]),
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{file.name} is drawn" if done.returncode == 0 else f"no plot was drawn: {done.stderr.strip()[-1000:]}"


def _install() -> str:
    """Returns what went wrong, if anything. Does nothing when it is there."""
    wanted = hashlib.sha256(_LOCK.read_bytes()).hexdigest()
    if _STAMP.exists() and _STAMP.read_text() == wanted:
        return ""
    print("installing what draws the plot …", file=sys.stderr, flush=True)
    shutil.rmtree(_FOLDER, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-qq", "--require-hashes"]
    done = subprocess.run(
        [*pip, "--target", str(_FOLDER), "-r", str(_LOCK)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return done.stderr.strip()[-1000:]
    _STAMP.write_text(wanted)
    return ""
