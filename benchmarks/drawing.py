"""Draws the sections that come as JSON on standard input: `python -m benchmarks.drawing FILE`. Called by `plot`."""

import json
import sys
from typing import Any

import matplotlib  # type: ignore[import-not-found]  # installed separately, see `plot`
from matplotlib.figure import Figure  # type: ignore[import-not-found]

PROJECT, FLOOR, INK, FAINT = "#1f6f8b", "#c9b79c", "#22303a", "#8a949b"
SHADES = {
    "web": "#1f6f8b",
    "relays": "#5fa3b5",
    "consumers": "#a9d0d8",
    "PostgreSQL": "#d98f4e",
    "RabbitMQ": "#efc896",
}
BARS = {
    "throughput": ("Throughput", "orders/s", {"accepted": "accepted", "end to end": "end to end"}),
    "latency": (
        "Latency",
        "ms",
        {
            "POST p50": "POST\np50",
            "POST p99": "POST\np99",
            "POST to final p50": "to final\np50",
            "POST to final p99": "to final\np99",
        },
    ),
    "drain": ("Drain", "orders/s", {"first to last final": "first to last final"}),
}

matplotlib.rcParams.update(
    {
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "text.color": INK,
        "axes.edgecolor": FAINT,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": FAINT,
        "svg.hashsalt": "the same figures make the same file",
    }
)


def main(sections: dict[str, dict[str, Any]], file: str) -> None:
    panels = [mode for mode in BARS if mode in sections] + ["CPU"] * ("throughput" in sections)
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(9, 3.1 * rows + 0.3), facecolor="white", layout="constrained")
    figure.get_layout_engine().set(hspace=0.08, wspace=0.06)
    grid = list(figure.subplots(rows, 2, squeeze=False).flat)
    for axes in grid[len(panels) :]:
        axes.remove()
    for axes, panel in zip(grid, panels, strict=False):
        if panel == "CPU":
            _draw_cpu(axes, sections["throughput"])
        else:
            _draw_bars(axes, panel, sections[panel])
    handles = [matplotlib.patches.Patch(color=color) for color in (PROJECT, FLOOR)]
    figure.legend(
        handles,
        ["project", "floor: the same by hand, no framework"],
        loc="outside lower left",
        ncols=2,
        frameon=False,
        handlelength=1,
        handleheight=1,
    )
    figure.savefig(file, dpi=140, metadata={"Date": None} if file.endswith(".svg") else None)


def _draw_bars(axes: Any, mode: str, section: dict[str, Any]) -> None:
    title, unit, labels = BARS[mode]
    rows = {row["name"]: row for row in section["rows"]}
    shown = [rows[name] for name in labels if name in rows]
    for offset, stack, color in ((-0.2, "project", PROJECT), (0.2, "floor", FLOOR)):
        for place, row in enumerate(shown):
            if row[stack] is not None:
                axes.bar(place + offset, row[stack], 0.38, color=color)
                _write(axes, place + offset, row[stack])
    axes.set_xticks(range(len(shown)), [labels[row["name"]] for row in shown])
    axes.set_xlim(-0.6, len(shown) - 0.4)
    _finish(axes, title, unit, section["title"])


def _draw_cpu(axes: Any, section: dict[str, Any]) -> None:
    rows = {row["name"].removeprefix("CPU "): row for row in section["rows"] if row["name"].startswith("CPU ")}
    stacks = [stack for stack in ("project", "floor") if any(row[stack] is not None for row in rows.values())]
    for place, stack in enumerate(stacks):
        bottom = 0.0
        for role, color in SHADES.items():
            value = rows[role][stack] or 0.0 if role in rows else 0.0
            axes.bar(place, value, 0.62, bottom=bottom, color=color, label=role if place == 0 else None)
            bottom += value
        _write(axes, place, bottom)
    axes.set_xticks(range(len(stacks)), stacks)
    axes.set_xlim(-0.55, len(stacks) + 0.35)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles[::-1], labels[::-1], loc="upper right", frameon=False, fontsize=8, handlelength=1, handleheight=1
    )
    _finish(axes, "CPU", "seconds per 1000 orders", section["title"])


def _write(axes: Any, x: float, value: float) -> None:
    text = f"{value:,.{0 if value >= 100 else 1}f}"
    axes.annotate(text, (x, value), (0, 2), textcoords="offset points", ha="center", va="bottom", fontsize=8)


def _finish(axes: Any, title: str, unit: str, subtitle: str) -> None:
    axes.set_title(f"{title}, {unit}", loc="left", fontsize=10, fontweight="bold", pad=20)
    axes.text(0, 1.03, subtitle, transform=axes.transAxes, fontsize=7.5, color=FAINT)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
    axes.grid(axis="y", color=FAINT, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.margins(y=0.12)


if __name__ == "__main__":
    main({section["mode"]: section for section in json.load(sys.stdin)}, sys.argv[1])
