"""Breaks the running system in every way we know, on servers of its own, and asks what became of each order.

Ends with 0 only when no accepted order was lost, none took effect twice, and nothing else was amiss.
"""

import argparse
import sys
import time

import torture.faults  # noqa: F401 - registers them
from dev.processes import leaving_nothing_behind, raise_on_termination
from dev.servers import ServerError
from torture import report
from torture.arena import BROKERS, opened
from torture.control import control
from torture.fault import FAULTS, GROUPS, Fault
from torture.run import Row, run

_started = time.monotonic()


def main() -> None:
    arguments = _parse()
    chosen = _chosen(arguments)
    if arguments.list:
        for fault in chosen:
            print(f"{fault.group:<10} {fault.name:<44} {fault.summary}")
        return
    if not (chosen or arguments.control):
        sys.exit("no fault is all of that: see --list")
    raise_on_termination()
    rows: list[Row] = []
    versions = ""
    try:
        with leaving_nothing_behind():
            # One arena at a time: two with their servers would only slow each other down.
            for kind in BROKERS:
                faults = [fault for fault in chosen if fault.arena == kind]
                if faults or (arguments.control and kind == "single"):
                    versions = _torture(kind, faults, arguments, rows)
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except (ServerError, AssertionError) as error:
        sys.exit(f"failed: {error}")
    if rows:
        _sum_up(rows, versions, arguments)


def _sum_up(rows: list[Row], versions: str, arguments: argparse.Namespace) -> None:
    rows = report.summed_up(rows)
    print()
    for line in report.lines(rows):
        print(line)
    if arguments.write:
        report.write(rows, versions=versions, seed=arguments.seed, times=arguments.times)
    if broken := [row.fault.name for row in rows if not row.holds]:
        sys.exit(f"\n{len(broken)} of {len(rows)} broke the promise: {', '.join(broken)}")
    print(f"\n{sum(row.accepted for row in rows)} orders accepted, none lost, none doubled")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m torture", description=__doc__)
    parser.add_argument("--fault", action="append", choices=FAULTS, metavar="NAME", help="only this one; repeatable")
    parser.add_argument("--group", choices=GROUPS, help="only this group")
    parser.add_argument("--short", action="store_true", help="only the few most telling ones")
    parser.add_argument("--control", action="store_true", help="take messages away, which has to be noticed; see docs")
    parser.add_argument("--list", action="store_true", help="say which there are, and do nothing")
    parser.add_argument("--seed", type=int, default=1, help="where the faults take their chance from (1)")
    parser.add_argument("--orders", type=int, help="at least so many for each fault (200, with --short 100)")
    parser.add_argument("--rate", type=float, default=40.0, help="orders a second (40)")
    parser.add_argument("--times", type=int, default=1, help="so often, one after the other (1)")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    arguments = parser.parse_args()
    arguments.orders = arguments.orders or (100 if arguments.short else 200)
    if arguments.orders < 10 or arguments.times < 1 or not 0 < arguments.rate <= 1000:
        parser.error("at least 10 orders, once, at most 1000 a second")
    return arguments


def _chosen(arguments: argparse.Namespace) -> list[Fault]:
    """Sorted by group, so that the table is in one piece. With `--control` and nothing else, only the control."""
    if arguments.control and not (arguments.fault or arguments.group or arguments.short):
        return []
    return sorted(
        (
            fault
            for fault in FAULTS.values()
            if (not arguments.fault or fault.name in arguments.fault)
            and arguments.group in (None, fault.group)
            and (fault.short or not arguments.short)
        ),
        key=lambda fault: GROUPS.index(fault.group),
    )


def _torture(kind: str, faults: list[Fault], arguments: argparse.Namespace, rows: list[Row]) -> str:
    """Runs these faults in one arena, and returns the versions of what runs there."""
    _say(f"starting servers and the six processes ({kind})")
    with opened(kind, _say) as arena:
        for number in range(1, arguments.times + 1):
            for fault in faults:
                _say(f"{fault.name}: {fault.summary}")
                # Each round has other random choices, but the same ones whenever it is run.
                row = run(arena, fault, orders=arguments.orders, rate=arguments.rate, seed=f"{arguments.seed} {number}")
                rows.append(row)
                for line in list(report.lines([row]))[1:]:
                    _say(line)
            if arguments.control and kind == "single":
                _say(f"control: {control(arena, rate=arguments.rate)}")
        return report.versions(arena)


def _say(text: str) -> None:
    print(f"{time.monotonic() - _started:6.1f}  {text}", flush=True)


if __name__ == "__main__":
    main()
