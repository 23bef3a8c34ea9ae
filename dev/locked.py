"""Checks that the locked requirements are what they should be, as far as that can be seen without the internet.

    python -m dev.locked

- Each is one exact version with its hashes, and no line says where to get it: that is up to each machine.
- All that `requirements/*.in` ask for is locked, in a version that they allow; nothing is locked that nobody asks for.
- What is installed in `.venv` is what is locked: no other version, nothing missing, nothing more.

Whether the versions are the newest, only `make lock` can tell; whether they are safe, `make audit`.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dev.environment import ROOT

FOLDER = ROOT / "requirements"
SETS = ("base", "dev", "bench")
NOT_LOCKED = {"pip", "order-processing"}
"""What else `.venv` has: the installer, and this project itself."""

_PLACES = re.compile(r"^\s*(-i|-f|--\S*(index|find-links)\S*)|://|\s@\s", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Locked:
    requirement: Requirement
    hashes: int
    asked_by: frozenset[str]
    """The `.in` files and the packages that ask for it, as noted by uv."""

    @property
    def version(self) -> str:
        """The locked version; "" when none or more than one is allowed."""
        pinned = re.fullmatch(r"==([^*,]+)", str(self.requirement.specifier))
        return pinned[1] if pinned else ""


def main() -> None:
    wrong = [*problems(FOLDER), *not_as_installed(locked(FOLDER / "dev.txt"), installed())]
    if wrong:
        sys.exit("\n".join(wrong))


def problems(folder: Path) -> Iterator[str]:
    """What is wrong with the files, one sentence each."""
    sets = {name: locked(folder / f"{name}.txt") for name in SETS}
    for name, packages in sets.items():
        for file in (folder / f"{name}.in", folder / f"{name}.txt"):
            if place := _PLACES.search(_without_comments(file)):
                yield f"{file.name} says where packages come from: {place[0].strip()}"
        asked = wanted(folder / f"{name}.in")
        for package, found in packages.items():
            if not found.version or not found.hashes:
                yield f"{name}.txt: {package} is not locked to one version with hashes"
            if f"-r requirements/{name}.in" in found.asked_by and package not in asked:
                yield f"{name}.txt: {package} is locked, but {name}.in does not ask for it any more: make lock"
            if not found.asked_by:
                yield f"{name}.txt: nobody asks for {package}"
        for package, requirement in asked.items():
            if package not in packages:
                yield f"{name}.in asks for {package}, which is not locked: make lock"
            elif packages[package].version not in requirement.specifier:
                yield f"{name}.txt: {package} {packages[package].version} is not what {name}.in asks for: make lock"
    for package, found in sets["base"].items():
        if package not in sets["dev"] or sets["dev"][package].version != found.version:
            yield f"dev.txt has not the {package} {found.version} of base.txt: make lock"


def not_as_installed(packages: Mapping[str, Locked], present: Mapping[str, str]) -> Iterator[str]:
    """How `.venv` differs from what is locked for a machine like this, one sentence each."""
    here = {
        package: found.version
        for package, found in packages.items()
        if found.requirement.marker is None or found.requirement.marker.evaluate()
    }
    for package in sorted(here.keys() | present.keys() - NOT_LOCKED):
        if here.get(package) != present.get(package):
            yield (
                f"{package}: locked is {here.get(package, 'none')}, "
                f"installed is {present.get(package, 'none')}: make clean setup"
            )


def locked(file: Path) -> dict[str, Locked]:
    """The packages of a file that uv has compiled. Raises ValueError for a line that is no requirement."""
    packages: dict[str, Locked] = {}
    for entry in re.split(r"\n(?=\S)", file.read_text().strip()):
        first, *rest = entry.split("\n")
        requirement = Requirement(first.rstrip("\\ "))
        notes = [line.strip().lstrip("#").strip().removeprefix("via").strip() for line in rest if "#" in line]
        packages[canonicalize_name(requirement.name)] = Locked(
            requirement, sum("--hash=sha256:" in line for line in rest), frozenset(note for note in notes if note)
        )
    return packages


def wanted(file: Path) -> dict[str, Requirement]:
    """What an `.in` file itself asks for, by package."""
    lines = [line.strip() for line in _without_comments(file).splitlines()]
    requirements = [Requirement(line) for line in lines if line and not line.startswith("-")]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def installed() -> dict[str, str]:
    """The packages of this environment and their versions."""
    return {canonicalize_name(found.metadata["Name"]): found.version for found in distributions()}


def _without_comments(file: Path) -> str:
    return re.sub(r"(^|\s)#.*", "", file.read_text())


if __name__ == "__main__":
    main()
