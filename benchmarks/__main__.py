"""Measures the project, and beside it a floor without a framework, on servers of its own. All stays on 127.0.0.1.

python -m benchmarks [MODE ...]
"""

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks import plot, report
from benchmarks.ground import ground
from benchmarks.modes import DEFAULT, MODES, Bench, Options, Run
from benchmarks.report import Found
from benchmarks.stacks import STACKS, BenchmarkError, Stacks
from dev.processes import raise_on_termination
from dev.servers import ServerError

_HELP = {
    "orders": "orders of a throughput",
    "drained": "orders that wait for the processor (drain)",
    "connections": "keep-alive connections that post them",
    "rate": "orders a second (latency, waiting)",
    "seconds": "for how long (latency, waiting)",
    "idle_seconds": "for how long (idle, waiting)",
    "backlog": "messages in the outbox (backlog)",
    "size": "orders in the tables, messages in the queue (size)",
    "waiting": "clients that wait (waiting)",
    "warm_up": "orders before each measurement",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures the project, and beside it a floor without a framework, on servers of its own.",
        epilog="; ".join(f"{name}: {mode.title(Options())}" for name, mode in MODES.items()),
    )
    parser.add_argument("modes", nargs="*", metavar="MODE", help=f"{', '.join(MODES)}, all ({' '.join(DEFAULT)})")
    parser.add_argument("--rounds", type=int, default=3, help="how often each mode runs; medians are shown (3)")
    parser.add_argument("--only", choices=STACKS, help="one of the two alone")
    for name, default in asdict(Options()).items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(
            option, type=type(default), default=default, help=f"{_HELP[name]} ({default:g})", metavar="N"
        )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="keep every figure of every run, from the first run on"
    )
    parser.add_argument("--write", action="store_true", help="into docs/performance.md, its plot, and the README")
    parser.add_argument(
        "--from", type=Path, nargs="+", dest="files", metavar="FILE", help="measure nothing: show these"
    )
    arguments = parser.parse_args()
    options = Options(**{name: getattr(arguments, name) for name in asdict(Options())})
    modes = list(MODES) if "all" in arguments.modes else arguments.modes or list(DEFAULT)
    if unknown := set(modes) - set(MODES):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    if problem := _problem(options, arguments.rounds):
        parser.error(problem)
    if not any(arguments.only in (None, stack) for mode in modes for stack in MODES[mode].stacks):
        parser.error(f"{arguments.only} has no {' and no '.join(modes)}")

    raise_on_termination()
    try:
        found = (
            Found.load(arguments.files)
            if arguments.files
            else _measure(modes, options, rounds=arguments.rounds, only=arguments.only, file=arguments.json)
        )
    except (BenchmarkError, ServerError, AssertionError, OSError, ValueError) as error:
        sys.exit(f"failed: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")
    print("\n".join(["", *report.lines(found)]))
    if arguments.write:
        print(plot.draw(found.sections, report.PLOT))  # first: the page shows it
        print(*report.write(found), sep="\n")


def _problem(options: Options, rounds: int) -> str:
    if not 1 <= rounds <= 100:
        return "1 to 100 rounds"
    if not all(1 <= value <= 10_000_000 for value in asdict(options).values()):
        return "every number is at least 1, and at most 10000000"
    if not (options.connections <= min(options.orders, options.drained) and options.connections <= 1000):
        return "at most 1000 connections, and no more than orders"
    if options.waiting > 900:
        return "at most 900 clients that wait: each is an open file of this program"
    if options.warm_up < 2 or options.seconds > 3600 or options.idle_seconds > 3600:
        return "at least 2 orders to warm up, and at most an hour"
    return ""


def _measure(modes: list[str], options: Options, *, rounds: int, only: str | None, file: Path | None) -> Found:
    """Project and floor take turns, and each begins every second round, so that the machine's moods hit both alike.

    Raises BenchmarkError when one of them breaks a promise. What was measured before that is in the file.
    """
    runs: list[Run] = []
    with ground() as there, Stacks(there) as stacks:
        machine = there.machine()
        for round in range(1, rounds + 1):
            for name in modes:
                mode = MODES[name]
                turns = [stack for stack in mode.stacks if only in (None, stack)]
                for stack in turns if round % 2 else reversed(turns):
                    _say(f"round {round} of {rounds}: {name}, {stack} …")
                    run = Run(name, stack, round, mode.title(options))
                    mode.measure(Bench(there, stacks, options, run))
                    runs.append(run)
                    if file:
                        Found.now(machine, asdict(options), runs).save(file)
                    _say(f"    {_in_short(run)}")
        return Found.now(machine, asdict(options), runs)


def _in_short(run: Run) -> str:
    if run.skipped:
        return run.skipped
    name, (value, unit) = next(iter(run.figures.items()))
    disturbed = max(run.others)
    hint = " (more than they should)" if disturbed > report.MOST_OTHERS else ""
    return f"{name} {value:.4g} {unit}; CPU probe {max(run.probes):.1f} ms; others took {disturbed:.0%}{hint}"


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
