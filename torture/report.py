"""The table, for a terminal and for docs/reliability.md."""

import json
import platform
from collections.abc import Iterable, Sequence
from itertools import groupby

from dev.environment import ORDER, ROOT
from dev.servers.rabbitmq import manage
from torture.arena import Arena
from torture.fault import Fault
from torture.run import Row

PAGE = ROOT / "docs" / "reliability.md"
_BEGIN, _END = "<!-- what `make torture ARGS=--write` found -->", "<!-- the end of it -->"
_COLUMNS = ("accepted", "refused", "lost", "doubled", "final after", "CPU", "memory")


def lines(rows: Sequence[Row]) -> Iterable[str]:
    """The table for a terminal, one line for each fault, and what was wrong below it."""
    width = max(len(row.fault.name) for row in rows)
    yield f"{'':<{width}}  " + "  ".join(f"{column:>11}" for column in _COLUMNS)
    for row in rows:
        if row.not_run:
            yield f"{row.fault.name:<{width}}  not run: {row.not_run}"
            continue
        cells = "  ".join(f"{cell:>11}" for cell in _cells(row))
        yield f"{row.fault.name:<{width}}  {cells}  {'' if row.holds else 'FAILED'}".rstrip()
        for complaint in row.complaints:
            yield f"    {complaint}"


def summed_up(rows: Iterable[Row]) -> list[Row]:
    """One row for each fault, from all its runs: orders are added up; of all else the worst is shown."""
    total: dict[str, Row] = {}
    for row in rows:
        so_far = total.setdefault(row.fault.name, Row(row.fault))
        for name in ("accepted", "refused", "lost", "doubled"):
            setattr(so_far, name, getattr(so_far, name) + getattr(row, name))
        so_far.seconds = max(so_far.seconds, row.seconds)
        so_far.megabytes = max(so_far.megabytes, row.megabytes)
        if row.cpu is not None:
            so_far.cpu = max(so_far.cpu or 0.0, row.cpu)
        so_far.complaints += row.complaints
        so_far.not_run = so_far.not_run or row.not_run
    return list(total.values())


def versions(arena: Arena) -> str:
    [(postgresql,)] = arena.query(ORDER, "SHOW server_version")
    rabbitmq = json.loads(manage(arena.broker.management_url, "GET", "/api/overview"))["rabbitmq_version"]
    return f"PostgreSQL {postgresql.split()[0]}, RabbitMQ {rabbitmq}, Python {platform.python_version()}"


def write(rows: Sequence[Row], *, versions: str, seed: int, times: int) -> None:
    """Puts the table between the two marks of the page."""
    before, begin, rest = PAGE.read_text().partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise SystemExit(f"{PAGE} lacks the marks between which the table belongs")
    rounds = "" if times == 1 else f", each fault {times} times"
    header = f"{versions}, seed {seed}{rounds}."
    PAGE.write_text(f"{before}{begin}\n\n{header}\n\n{_markdown(rows)}\n{end}{after}")


def _markdown(rows: Sequence[Row]) -> str:
    written = []
    for group, members in groupby(rows, key=lambda row: row.fault.group):
        written += [f"| **{group}** | {' | '.join(_COLUMNS)} |", f"| --- |{' ---: |' * len(_COLUMNS)}"]
        for row in members:
            cells = [f"not run: {row.not_run}", *[""] * (len(_COLUMNS) - 1)] if row.not_run else _cells(row)
            written.append(f"| {_described(row.fault)} | {' | '.join(cells)} |")
        written.append("")
    return "\n".join(written)


def _described(fault: Fault) -> str:
    return f"`{fault.name}`: {fault.summary}"


def _cells(row: Row) -> list[str]:
    return [
        str(row.accepted),
        str(row.refused),
        str(row.lost),
        str(row.doubled),
        f"{row.seconds:.1f} s",
        "" if row.cpu is None else f"{row.cpu:.1%}",
        f"{row.megabytes:.0f} MB",
    ]
