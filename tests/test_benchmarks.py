"""The benchmarks measure what they say, on a system that works, and leave alone what is not theirs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import cpu, report
from benchmarks.modes import Run
from benchmarks.report import Found
from dev.environment import ROOT

MARKS = "before\n<!-- what make bench found -->\nold\n<!-- the end of it -->\nafter\n"


def run(stack: str, round: int, accepted: float, *, others: float = 0.01) -> Run:
    figures = {"accepted": (accepted, "orders/s")}
    return Run("throughput", stack, round, "some orders", figures, probes=[10.0, 11.0], others=[others])


def found(*runs: Run, orders: int = 5000) -> Found:
    return Found({"CPUs": "2 × some"}, "2026-01-01T00:00:00+00:00", {"orders": orders}, runs)


def test_a_figure_is_the_median_of_its_rounds_and_the_ratio_that_of_medians() -> None:
    projects = [run("project", number, value) for number, value in enumerate((100, 300, 900), start=1)]

    [row] = found(*projects, run("floor", 1, 600)).sections[0].rows

    assert (row.project, row.floor, row.ratio) == (300, 600, 0.5)


def test_it_says_when_others_took_too_much_of_the_machine_in_any_round() -> None:
    calm, busy = run("project", 1, 100), run("project", 2, 100, others=0.07)

    assert "do not rely" in found(calm, busy).sections[0].note
    assert "do not rely" not in found(calm).sections[0].note


def test_it_writes_between_the_marks_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, readme = tmp_path / "page.md", tmp_path / "readme.md"
    page.write_text(MARKS)
    readme.write_text(MARKS)
    monkeypatch.setattr(report, "PAGE", page)
    monkeypatch.setattr(report, "README", readme)

    list(report.write(found(run("project", 1, 300), run("floor", 1, 600))))

    written = page.read_text()
    assert written.startswith("before\n<!--")
    assert written.endswith("-->\nafter\n")
    assert "| accepted, orders/s | 300 | 600 | 0.50 |" in written
    assert "old" not in written
    # The README's table also needs latency and drain.
    assert readme.read_text() == MARKS


def test_it_leaves_a_page_without_marks_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text("no marks")
    monkeypatch.setattr(report, "PAGE", page)

    [said] = report.write(found(run("project", 1, 300)))

    assert "stays as it is" in said
    assert page.read_text() == "no marks"


def test_what_it_has_saved_it_shows_again(tmp_path: Path) -> None:
    saved = found(run("project", 1, 300), run("floor", 1, 600))
    saved.save(tmp_path / "figures.json")

    assert list(report.lines(Found.load([tmp_path / "figures.json"]))) == list(report.lines(saved))


def test_it_takes_several_files_for_rounds_of_one_but_not_of_runs_that_differ_in_size(tmp_path: Path) -> None:
    one, another, smaller = (tmp_path / name for name in ("one", "another", "smaller"))
    found(run("project", 1, 300)).save(one)
    found(run("project", 1, 500)).save(another)
    found(run("project", 1, 900), orders=1000).save(smaller)

    assert "Medians of 2 rounds" in Found.load([one, another]).sections[0].note
    with pytest.raises(ValueError, match="different numbers of orders"):
        Found.load([one, smaller])


@pytest.mark.parametrize(
    "arguments", [("benchmarks", "idle", "--only", "floor"), ("torture", "--short", "--fault", "clocks-jump")]
)
def test_a_call_that_chooses_nothing_is_an_error(arguments: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert done.stdout == ""


def test_what_a_child_used_is_the_drivers_and_not_of_others() -> None:
    before = cpu.Moment.now({})
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.5: pass"], check=True)
    used = cpu.Used.between(before, cpu.Moment.now({}))

    assert used.by_role[cpu.DRIVER] >= 0.4  # each figure is rounded down to whole ticks of 10 ms


def test_project_and_floor_keep_their_promises_while_they_are_measured(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    few = ("--rounds=1", "--orders=40", "--drained=40", "--connections=4", "--warm-up=10", "--size=100")

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "throughput", "size", *few, "--json", file],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    figures = {(run["mode"], run["stack"]): run["figures"] for run in json.loads(file.read_text())["runs"]}
    assert figures.keys() == {("throughput", "project"), ("throughput", "floor"), ("size", "project")}
    assert all(figures["throughput", stack]["accepted"][0] > 0 for stack in ("project", "floor"))
