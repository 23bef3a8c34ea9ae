"""Asks about known vulnerabilities of every locked package: `python -m dev.audit`. Installs nothing.

Needs the internet: the answers come from the public database of advisories on Python packages. Fails when there is a
vulnerability, and when even one package could not be asked about: pip-audit alone would call that a success.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from dev.environment import ROOT

NEEDS_THE_INTERNET = "The audit needs the internet: it asks a public database about every locked package."


def main() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip_audit"),
            *("--requirement", ROOT / "requirements" / "dev.txt", "--requirement", ROOT / "requirements" / "bench.txt"),
            *("--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        dependencies = json.loads(done.stdout)["dependencies"]
    except ValueError:
        said = done.stderr.strip().splitlines() or ["pip-audit said nothing"]
        sys.exit(f"{NEEDS_THE_INTERNET} It failed: {said[-1]}")
    wrong = verdict(dependencies)
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"{len(dependencies)} locked packages, none with a known vulnerability")


def verdict(dependencies: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong, one sentence each, from what pip-audit says about each package."""
    wrong = [
        f"{package['name']} {package['version']}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'none'}"
        for package in dependencies
        for found in package.get("vulns", [])
    ]
    if skipped := [package for package in dependencies if "skip_reason" in package]:
        wrong.append(
            f"{NEEDS_THE_INTERNET} {len(skipped)} of {len(dependencies)} could not be asked about; "
            f"the first: {skipped[0]['skip_reason']}"
        )
    return wrong


if __name__ == "__main__":
    main()
