import re
from argparse import ArgumentParser, ArgumentTypeError
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError
from tqdm import tqdm

from desk.commands import DatabaseCommand, HelpFormatter
from ledger import report
from ledger.book import Book, book
from ledger.peer import FilePeer, HttpPeer, Peer, PeerError, export
from ledger.reconciliation import DOUBLE, MISSING, Result, look, repair

_HELP = """\
Compares the books of the two services: every accepted order must be in one place.

It lists with their ids what is missing, what is double, and what is stuck. With --repair it mends what this service
can mend, and says what the other must. Safe to run at any time, twice, and beside everything else.

Ends with 0 when the books balance, with 1 when something is missing or double, with 2 when it cannot tell.
"""


class Command(DatabaseCommand):
    help = _HELP

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = HelpFormatter
        parser.add_argument(
            "--older-than",
            type=_duration,
            default="60s",
            metavar="60s",
            help="what has moved since is on its way, and neither missing nor stuck (60s; units s, m, h)",
        )
        parser.add_argument(
            "--again-after",
            type=_duration,
            default="6s",  # longer than the broker's statistics lag behind, and than messages usually take
            metavar="6s",
            help="what seems wrong is looked at again after this time, because orders move while one looks (6s)",
        )
        parser.add_argument("--repair", action="store_true", help="mend what this service can mend, and look again")
        parser.add_argument("--json", action="store_true", help="one JSON object")
        parser.add_argument("--limit", type=int, default=100, help="list at most so many of each kind (100); 0 for all")
        parser.add_argument(
            "--from", dest="file", metavar="FILE", help="read the other service's book from its export, not over HTTP"
        )
        parser.add_argument("--export", metavar="FILE", help="write this service's book for that, and do nothing else")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["export"]:
                self._export(options["export"])
            else:
                self._reconcile(options)
        except (PeerError, OSError) as error:
            raise CommandError(str(error), returncode=2) from error

    def _export(self, name: str) -> None:
        with open(name, "w", encoding="utf-8") as file:
            count = export(book(), file)
        self.stderr.write(f"Exported {count:,} entries.")

    def _reconcile(self, options: dict[str, Any]) -> None:
        ours = book()
        times = {"older_than": _seconds(options["older_than"]), "again_after": _seconds(options["again_after"])}
        limit = max(options["limit"], 0)
        with ExitStack() as stack:
            peer = _peer(ours, options["file"], stack)
            result = self._look(ours, peer, **times)
            repaired = None
            if options["repair"]:
                repaired = repair(ours, peer.fetch if isinstance(peer, HttpPeer) else None)
            if repaired:
                result = self._look(ours, peer, **times)
        if options["json"]:
            for piece in report.as_json(result, ours, limit=limit, repaired=repaired or 0):
                self.stdout.write(piece, ending="")
        else:
            given = options["older_than"]
            for line in report.as_text(result, ours, older_than=given, limit=limit, repaired=repaired):
                self.stdout.write(line)
        if not result.balanced:
            raise SystemExit(1 if result.orders(*MISSING, *DOUBLE) else 2)

    def _look(self, ours: Book, peer: Peer, *, older_than: timedelta, again_after: timedelta) -> Result:
        with tqdm(disable=None, unit=" entries", desc=f"book of {ours.peer}", leave=False) as bar:
            return look(ours, peer, older_than=older_than, again_after=again_after, on_page=bar.update)


def _peer(ours: Book, name: str | None, stack: ExitStack) -> Peer:
    if name is None:
        return HttpPeer(ours)
    return FilePeer(ours, name, stack.enter_context(open(name, encoding="utf-8")))


def _duration(text: str) -> str:
    if not re.fullmatch("[0-9]{1,6}[smh]", text):
        raise ArgumentTypeError(f"{text!r} is no duration; write it like 60s, 5m or 1h")
    return text


def _seconds(text: str) -> timedelta:
    return int(text[:-1]) * {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1)}[text[-1]]
