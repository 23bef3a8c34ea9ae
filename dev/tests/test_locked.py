import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dev.audit import verdict
from dev.locked import FOLDER, locked, not_as_installed, problems


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(FOLDER, tmp_path / "requirements")


@pytest.fixture
def edit(folder: Path) -> Callable[[str, str, str], list[str]]:
    def edit(name: str, old: str, new: str) -> list[str]:
        """What is found wrong after this change to a file."""
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))
        return list(problems(folder))

    return edit


def version(package: str) -> str:
    return locked(FOLDER / "base.txt")[package].version


def test_what_is_locked_is_as_it_should_be() -> None:
    assert not list(problems(FOLDER))


def test_it_does_not_let_a_package_be_asked_for_and_not_locked(edit: Callable[[str, str, str], list[str]]) -> None:
    assert edit("base.in", "orjson ", "orjson\nrequests ") == [
        "base.in asks for requests, which is not locked: make lock"
    ]


def test_it_does_not_let_a_package_stay_that_nobody_asks_for(edit: Callable[[str, str, str], list[str]]) -> None:
    assert edit("base.in", "\norjson ", "\n#") == [
        "base.txt: orjson is locked, but base.in does not ask for it any more: make lock"
    ]


def test_it_does_not_let_a_version_be_one_that_is_not_allowed(edit: Callable[[str, str, str], list[str]]) -> None:
    (wrong,) = edit("base.in", "pika>=1.4.4", "pika>=99")
    assert wrong == f"base.txt: pika {version('pika')} is not what base.in asks for: make lock"


@pytest.mark.parametrize("loose", ["pika>=1.4.4", "pika==1.*", "pika"])
def test_it_does_not_let_a_version_be_loose(edit: Callable[[str, str, str], list[str]], loose: str) -> None:
    assert "base.txt: pika is not locked to one version with hashes" in edit(
        "base.txt", f"pika=={version('pika')}", loose
    )


def test_it_does_not_let_the_two_sets_differ(edit: Callable[[str, str, str], list[str]]) -> None:
    pika = version("pika")
    assert edit("dev.txt", f"pika=={pika}", "pika==99") == [f"dev.txt has not the pika {pika} of base.txt: make lock"]


def test_it_does_not_let_a_package_go_without_a_hash(folder: Path) -> None:
    lines = (folder / "base.txt").read_text().splitlines()
    start = lines.index(f"pika=={version('pika')} \\")
    hashes = next(n for n in range(start + 1, len(lines)) if "--hash" not in lines[n])
    lines[start:hashes] = [lines[start].rstrip("\\ ")]
    (folder / "base.txt").write_text("\n".join(lines) + "\n")
    assert list(problems(folder)) == ["base.txt: pika is not locked to one version with hashes"]


@pytest.mark.parametrize(
    "place", ["--index-url https://example.com/simple", "-i https://example.com", "--find-links x"]
)
def test_it_does_not_let_a_file_say_where_packages_come_from(
    edit: Callable[[str, str, str], list[str]], place: str
) -> None:
    assert any("says where packages come from" in wrong for wrong in edit("base.in", "orjson ", f"{place}\norjson "))


def test_it_does_not_take_another_version_a_missing_or_a_further_package_for_what_is_locked() -> None:
    packages = locked(FOLDER / "base.txt")
    present = {name: found.version for name, found in packages.items() if found.requirement.marker is None}
    present |= {"pika": "0.1", "further": "1.0", "pip": "1.0"}
    del present["orjson"]
    wrong = [sentence.partition(":")[0] for sentence in not_as_installed(packages, present)]
    assert [name for name in wrong if packages.get(name) is None or not packages[name].requirement.marker] == [
        "further", "orjson", "pika",
    ]  # fmt: skip


def test_an_audit_that_could_not_ask_is_no_success() -> None:
    sound = {"name": "a", "version": "1", "vulns": []}
    unasked = {"name": "b", "skip_reason": "not found"}
    holed = {"name": "c", "version": "3", "vulns": [{"id": "CVE-1", "fix_versions": ["3.1"]}]}
    assert verdict([sound]) == []
    assert verdict([holed]) == ["c 3: CVE-1, mended in 3.1"]
    (wrong,) = verdict([sound, unasked])
    assert "needs the internet" in wrong
    assert "1 of 2" in wrong
