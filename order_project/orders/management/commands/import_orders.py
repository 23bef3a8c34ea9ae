import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from typing import IO, Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from desk.commands import HelpFormatter
from desk.display import number_of
from observability.context import bind, new_correlation_id, new_traceparent
from observability.errors import in_one_line
from orders.batches import PlacedBatch
from orders.imports import place_all
from orders.new_order import Refused
from orders.order_file import SUFFIXES, Chunk, ImportFailed, OrderFile
from serving.garbage import spare_what_is_loaded

_HELP = """\
Places the orders of a file: NDJSON with one body of POST /orders a line, or CSV with one item a line and the header

  order,customer_id,product_id,quantity,price

where consecutive rows with the same `order` are one order. Up to 1000 orders are one transaction, and a few of these
are placed at once: the orders of the file do not come into being in its order.

Safe to stop at any time and to run again: what this very file has placed is placed once. A file with any other content
is another file.

Ends with 0, with 1 when orders were refused (the others are placed), with 2 when the file cannot be imported.
"""
_LISTED = 20
_AGAIN = "The same command goes on from there."


@dataclass(slots=True)
class _Summary:
    file: str
    sha256: str
    dry_run: bool
    correlation_id: str
    """That of all orders that this run places."""
    placed: int = 0
    placed_before: int = 0
    """Orders that an earlier run placed."""
    valid: int = 0
    """Valid orders: placed now, placed before, or, in a dry run, to be placed."""
    refused: int = 0


class Command(BaseCommand):
    help = _HELP

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = HelpFormatter
        parser.add_argument("file", metavar="FILE")
        parser.add_argument(
            "--format", choices=sorted(set(SUFFIXES.values())), help="what it is, if its name does not say so"
        )
        parser.add_argument("--dry-run", action="store_true", help="only check the orders")
        parser.add_argument("--errors", metavar="FILE", help="write all that is refused there, one JSON object a line")
        parser.add_argument("--json", action="store_true", help="end with one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with OrderFile(options["file"], options["format"]) as file, ExitStack() as stack:
                summary = _Summary(file.name, file.sha256, options["dry_run"], new_correlation_id())
                errors = _open_errors(file, options["errors"], stack)
                self._import(file, summary, errors)
        except ImportFailed as error:
            raise CommandError(str(error), returncode=2) from error
        except OSError as error:
            raise CommandError(f"A file cannot be read or written: {error}. {_AGAIN}", returncode=2) from error
        if options["json"]:
            self.stdout.write(json.dumps(asdict(summary)))
        else:
            self.stdout.write(_said(summary))
        if summary.refused:
            raise SystemExit(1)

    def _import(self, file: OrderFile, summary: _Summary, errors: IO[str] | None) -> None:
        spare_what_is_loaded()
        bar = tqdm(total=file.size, disable=None, unit="B", unit_scale=True, desc="orders", leave=False)
        ids = bind(correlation_id=summary.correlation_id, traceparent=new_traceparent())
        try:
            with bar, nullcontext() if bar.disable else logging_redirect_tqdm(), ids:
                chunks = self._read(file, summary, errors)
                if summary.dry_run:
                    for chunk in chunks:
                        bar.update(chunk.size)
                else:
                    placed = partial(self._count, summary, bar)
                    place_all(file, chunks, on_placed=placed, on_wait=self._say_why)
        except KeyboardInterrupt:
            raise CommandError(f"Stopped. {_so_far(summary)} {_AGAIN}", returncode=130) from None
        except DatabaseError as error:
            reason = in_one_line(error)
            away = isinstance(error, OperationalError | InterfaceError)
            said = f"The database {'is not available' if away else 'refuses'}: {reason}. {_so_far(summary)} {_AGAIN}"
            raise CommandError(said, returncode=2) from error
        except OSError as error:
            said = f"A file cannot be read or written: {error}. {_so_far(summary)} {_AGAIN}"
            raise CommandError(said, returncode=2) from error
        except ImportFailed as error:
            raise ImportFailed(f"{error} {_so_far(summary)}") from error

    def _read(self, file: OrderFile, summary: _Summary, errors: IO[str] | None) -> Iterator[Chunk]:
        """The chunks of the file. Reports what is refused on the way."""
        listed = 0
        for chunk in file.chunks():
            refused = sum(isinstance(entry.order, Refused) for entry in chunk.entries)
            summary.refused += refused
            summary.valid += len(chunk.entries) - refused
            for problem in (problem for entry in chunk.entries for problem in entry.problems()):
                listed += 1
                if listed <= _LISTED:
                    where = f"{problem['pointer']}: " if problem["pointer"] else ""
                    self._say(f"line {problem['line']}: {where}{problem['detail']}")
                if errors:
                    errors.write(json.dumps(problem) + "\n")
            yield chunk
        if listed > _LISTED:
            self._say(f"And {listed - _LISTED:,} more{'' if errors else '; --errors FILE writes them all'}.")

    def _count(self, summary: _Summary, bar: Any, chunk: Chunk, batch: PlacedBatch) -> None:
        if batch.replayed:
            summary.placed_before += batch.accepted
        else:
            summary.placed += batch.accepted
        bar.update(chunk.size)

    def _say_why(self, seconds: int, why: str) -> None:
        self._say(f"Waiting {seconds} s: {why}.")

    def _say(self, text: str) -> None:
        with tqdm.external_write_mode(file=sys.stderr):  # past the bar
            self.stderr.write(text)


def _open_errors(file: OrderFile, name: str | None, stack: ExitStack) -> IO[str] | None:
    if name is None:
        return None
    if file.is_same(name):
        raise ImportFailed(f"--errors {name} is the file of the orders itself.")
    try:
        return stack.enter_context(open(name, "w", encoding="utf-8"))
    except OSError as error:
        raise ImportFailed(f"{name} cannot be written: {error.strerror}.") from None


def _said(summary: _Summary) -> str:
    refused = f"; {number_of(summary.refused, 'order')} refused" if summary.refused else ""
    if summary.dry_run:
        return f"{number_of(summary.valid, 'order')} to place{refused}. Nothing was placed."
    before = f" and found {number_of(summary.placed_before, 'order')} placed before" if summary.placed_before else ""
    return f"Placed {number_of(summary.placed, 'order')}{before}{refused}."


def _so_far(summary: _Summary) -> str:
    if summary.dry_run:
        return "Nothing was placed."
    return f"{number_of(summary.placed, 'order')} of this file placed now, {summary.placed_before:,} before."
