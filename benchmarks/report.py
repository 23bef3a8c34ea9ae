"""The figures, for a terminal, as JSON, and for docs/performance.md and the README."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.modes import MODES, Run
from benchmarks.stacks import Floor, Project
from dev.environment import ROOT

PAGE, README, PLOT = ROOT / "docs" / "performance.md", ROOT / "README.md", ROOT / "docs" / "performance.svg"
MOST_OTHERS = 0.06
"""The share of the machine that others may take. If they take more, the figures say little."""
_BEGIN, _END = "<!-- what make bench found -->", "<!-- the end of it -->"
_OWN = ("CPU web", "CPU relays", "CPU consumers")
_PER_1000 = "s per 1000 orders"

_SHORT = {
    "throughput": ("accepted", "end to end"),
    "drain": ("first to last final",),
    "latency": ("POST p50", "POST p99", "POST to final p50", "POST to final p99"),
}
"""What the README shows, apart from CPU."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: for each system that has it, the median of all rounds."""

    name: str
    unit: str
    project: float | None
    floor: float | None

    @property
    def ratio(self) -> float | None:
        return self.project / self.floor if self.project is not None and self.floor else None

    def cells(self) -> list[str]:
        return [_shown(self.project), _shown(self.floor), "" if self.ratio is None else f"{self.ratio:.2f}"]


@dataclass(frozen=True, slots=True)
class Section:
    """All figures of one mode."""

    mode: str
    title: str
    rows: Sequence[Row]
    note: str
    """How the machine was meanwhile, or why there are no figures."""

    @property
    def compares(self) -> bool:
        """Whether any figure of one system can be compared with the other's."""
        return any(row.ratio is not None for row in self.rows)


@dataclass(frozen=True, slots=True)
class Found:
    """What one or more calls of `make bench` have measured."""

    machine: Mapping[str, str]
    when: str
    options: Mapping[str, Any]
    runs: Sequence[Run]

    @classmethod
    def now(cls, machine: Mapping[str, str], options: Mapping[str, Any], runs: Sequence[Run]) -> "Found":
        return cls(machine, datetime.now(UTC).isoformat(timespec="seconds"), options, runs)

    def save(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, files: Sequence[Path]) -> "Found":
        """The runs of all files. Raises ValueError when their machines or options differ."""
        loaded = [json.loads(file.read_text()) for file in files]
        first = loaded[0]
        if any(other["machine"] != first["machine"] for other in loaded):
            raise ValueError("these files come from different machines, or from different versions")
        if any(other["options"] != first["options"] for other in loaded):
            raise ValueError("these files come from runs with different numbers of orders, connections …")
        runs = [Run(**run) for one in loaded for run in one["runs"]]
        return cls(first["machine"], loaded[-1]["when"], first["options"], runs)

    @property
    def sections(self) -> list[Section]:
        present = [mode for mode in MODES if any(run.mode == mode for run in self.runs)]
        return [_section(mode, [run for run in self.runs if run.mode == mode]) for mode in present]

    @property
    def origin(self) -> str:
        versions = ", ".join(f"{name} {value}" for name, value in self.machine.items() if name != "CPUs")
        return f"{self.when[:10]}, {self.machine['CPUs']}; {versions}"


def lines(found: Found) -> Iterator[str]:
    """The figures for a terminal."""
    for section in found.sections:
        width = max([len(section.title) + len(section.mode) + 2, *(len(_label(row)) + 2 for row in section.rows)])
        heads = (Project.name, Floor.name, "ratio") if section.compares else ("",) * 3
        head = f"{section.mode}: {section.title}"
        yield f"{head:<{width}}{''.join(f'  {head:>9}' for head in heads)}".rstrip()
        for row in section.rows:
            cells = "".join(f"  {cell:>9}" for cell in row.cells())
            yield f"  {_label(row):<{width - 2}}{cells}".rstrip()
        yield f"  {section.note}"
        yield ""
    yield found.origin


def write(found: Found) -> Iterator[str]:
    """Puts the tables between the marks of the page, and a short one between those of the README.

    Yields what it has done, in sentences. A file without marks is left alone.
    """
    sections = {section.mode: section for section in found.sections}
    picture = f"![Project and floor side by side]({PLOT.name})\n\n" if PLOT.exists() else ""
    yield _put(PAGE, f"{found.origin}.\n\n{picture}{_pages_tables(found)}")
    if short := _short_table(sections):
        yield _put(README, f"{short}\n\n{found.origin}.")


def _put(file: Path, text: str) -> str:
    if file.exists():
        before, begin, rest = file.read_text().partition(_BEGIN)
        _, end, after = rest.partition(_END)
        if begin and end:
            file.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")
            return f"{file.name} is written"
    return f"{file.name} has no marks between which the figures belong; it stays as it is"


def _pages_tables(found: Found) -> str:
    tables = []
    for section in found.sections:
        if not section.rows:
            tables.append(f"**{section.mode}**: {section.note}")
            continue
        if section.compares:
            head, rule = (
                f"| **{section.mode}**: {section.title} | project | floor | ratio |",
                "| --- | ---: | ---: | ---: |",
            )
        else:
            head, rule = f"| **{section.mode}**: {section.title} | |", "| --- | ---: |"
        cells = [row.cells() if section.compares else row.cells()[:1] for row in section.rows]
        body = [f"| {_label(row)} | {' | '.join(of)} |" for row, of in zip(section.rows, cells, strict=True)]
        tables.append("\n".join([head, rule, *body, "", section.note]))
    return "\n\n".join(tables)


def _short_table(sections: Mapping[str, Section]) -> str:
    """The README's table; empty unless all that it shows was measured for both systems."""
    if not all(mode in sections and sections[mode].compares for mode in _SHORT):
        return ""
    chosen = [row for mode, names in _SHORT.items() for row in sections[mode].rows if row.name in names]
    costs = [row for row in sections["throughput"].rows if row.unit == _PER_1000]
    chosen.append(_sum("CPU of the services' processes", [row for row in costs if row.name in _OWN]))
    chosen.append(_sum("CPU with PostgreSQL and RabbitMQ", [row for row in costs if row.name != "CPU driver"]))
    titles = {row.name: f"{row.name} ({mode})" for mode in _SHORT for row in sections[mode].rows}
    body = [f"| {titles.get(row.name, row.name)}, {row.unit} | {' | '.join(row.cells())} |" for row in chosen]
    return "\n".join(["| | project | floor | ratio |", "| --- | ---: | ---: | ---: |", *body])


def _sum(name: str, rows: Sequence[Row]) -> Row:
    return Row(name, _PER_1000, sum(row.project or 0 for row in rows), sum(row.floor or 0 for row in rows))


def _section(mode: str, runs: Sequence[Run]) -> Section:
    names = {name: unit for run in runs for name, (_, unit) in run.figures.items()}
    rows = [
        Row(name, unit, _median(runs, Project.name, name), _median(runs, Floor.name, name))
        for name, unit in names.items()
    ]
    return Section(mode, runs[-1].title, rows, _note(runs))


def _median(runs: Sequence[Run], stack: str, name: str) -> float | None:
    values = [run.figures[name][0] for run in runs if run.stack == stack and name in run.figures]
    return median(values) if values else None


def _note(runs: Sequence[Run]) -> str:
    if skipped := next((run.skipped for run in runs if run.skipped), ""):
        return f"Skipped. {skipped}"
    probes, others = [probe for run in runs for probe in run.probes], [share for run in runs for share in run.others]
    rounds = max(Counter(run.stack for run in runs).values())
    text = f"{'One round' if rounds == 1 else f'Medians of {rounds} rounds'}; CPU probe "
    text += f"{min(probes):.1f} to {max(probes):.1f} ms; others took up to {max(others):.0%} of the machine"
    if max(others) > MOST_OTHERS:
        text += f", more than {MOST_OTHERS:.0%}: do not rely on these figures"
    return f"{text}."


def _label(row: Row) -> str:
    return f"{row.name}, {row.unit}"


def _shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"
