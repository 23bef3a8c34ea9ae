"""The picture of docs/performance.md."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks import drawing_tools
from benchmarks.report import Section
from dev.environment import ROOT


def draw(sections: Sequence[Section], file: Path) -> str:
    """Draws these sections, as SVG or PNG. Returns a sentence on what it has done; empty when it could not."""
    if problem := drawing_tools.install():
        return f"no plot was drawn: {problem}"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.drawing", str(file)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(drawing_tools.FOLDER)},
        input=json.dumps([asdict(section) for section in sections]),
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{file.name} is drawn" if done.returncode == 0 else f"no plot was drawn: {done.stderr.strip()[-1000:]}"
