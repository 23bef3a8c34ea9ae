"""The plots of the overview, as shapes in a box of 600 by 100; the template draws them as SVG."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from dashboard.histogram import Histogram, percentile
from dashboard.pipeline import Pipeline
from dashboard.rollup import Minute
from dashboard.words import duration_ms

HEIGHT = 100.0
COLUMN = 10.0
_GAP = 1.5
_LEAST = 1.0  # one failed order among thousands must still be seen

type Link = Callable[[Minute, str], str]
"""The address of the rows of a minute with this status; with an empty one, of all its rows."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A rectangle, measured from the upper left corner."""

    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Column:
    """One minute."""

    title: str
    url: str
    x: float
    shapes: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the grid, at this many percent of the height from below."""

    percent: float
    label: str

    @property
    def y(self) -> float:
        return HEIGHT - self.percent


@dataclass(frozen=True, slots=True)
class Plot:
    columns: tuple[Column, ...]
    grid: tuple[Line, ...]
    description: str
    """What it shows, in a sentence."""


def bars(minutes: list[Minute], pipeline: Pipeline, link: Link) -> Plot:
    """How many rows there were each minute, stacked by status."""
    highest = max((minute.total for minute in minutes), default=0)
    top = _round_up(highest)
    columns = []
    for number, minute in enumerate(minutes):
        shapes, y = [], HEIGHT
        for status in pipeline.statuses:
            if count := minute.counts[status.name]:
                height = max(_LEAST, count / top * HEIGHT)
                y = max(0.0, y - height)
                shapes.append(_shape(status.kind, number, y, height))
        columns.append(Column(_said(minute, pipeline), link(minute, ""), number * COLUMN, tuple(shapes)))
    peak = max(minutes, key=lambda minute: minute.total)
    description = (
        f"Bars of the last {len(minutes)} minutes. The most were {peak.total:,} at {_clock(peak.start)}."
        if highest
        else f"Nothing in the last {len(minutes)} minutes."
    )
    return Plot(tuple(columns), (Line(50, f"{top // 2:,}"), Line(100, f"{top:,}")), description)


def times(minutes: list[Minute], which: Callable[[Minute], Histogram], link: Link) -> Plot:
    """From p50 to p95 of each minute, on a logarithmic scale."""
    found = [(percentile(which(minute), 0.5), percentile(which(minute), 0.95)) for minute in minutes]
    known = [time for pair in found for time in pair if time is not None]
    if not known:
        empty = tuple(Column(f"{_clock(m.start)}: none", "", n * COLUMN, ()) for n, m in enumerate(minutes))
        return Plot(empty, (), f"No times in the last {len(minutes)} minutes.")
    first = math.floor(math.log10(min(known)))
    decades = max(1, math.ceil(math.log10(max(known))) - first)

    def y(time: float) -> float:
        return HEIGHT * (1 - (math.log10(time) - first) / decades)

    columns = []
    for number, (minute, (p50, p95)) in enumerate(zip(minutes, found, strict=True)):
        shapes: tuple[Shape, ...] = ()
        title = f"{_clock(minute.start)}: none"
        if p50 is not None and p95 is not None:
            title = f"{_clock(minute.start)}: p50 {duration_ms(p50)}, p95 {duration_ms(p95)}"
            shapes = (
                _shape("span", number, y(p95), max(_LEAST, y(p50) - y(p95))),
                _shape("p95", number, y(p95) - 1, 2),
                _shape("p50", number, y(p50) - 1, 2),
            )
        columns.append(Column(title, link(minute, "") if shapes else "", number * COLUMN, shapes))
    grid = tuple(Line(100 * step / decades, duration_ms(10.0 ** (first + step))) for step in range(decades + 1))
    description = (
        f"From p50 to p95 for each of the last {len(minutes)} minutes, on a logarithmic scale from {grid[0].label} to "
        f"{grid[-1].label}."
    )
    return Plot(tuple(columns), grid, description)


def _shape(kind: str, number: int, y: float, height: float) -> Shape:
    return Shape(kind, number * COLUMN + _GAP / 2, round(y, 2), COLUMN - _GAP, round(height, 2))


def _said(minute: Minute, pipeline: Pipeline) -> str:
    counted = [f"{minute.counts[s.name]:,} {s.label}" for s in pipeline.statuses if minute.counts[s.name]]
    if not counted:
        return f"{_clock(minute.start)}: {'none' if minute.is_counted else 'not counted yet'}"
    return f"{_clock(minute.start)}: {', '.join(counted)}"


def _clock(moment: datetime) -> str:
    return f"{moment:%H:%M}"


def _round_up(number: int) -> int:
    """The next of 2, 4, 10, 20, 40, 100 …: their halves are whole numbers."""
    if number <= 2:
        return 2
    power: int = 10 ** math.floor(math.log10(number))
    return next(step * power for step in (1, 2, 4, 10) if step * power >= number)
