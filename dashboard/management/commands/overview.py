import json
import shutil
import sys
import time
from argparse import ArgumentParser
from typing import Any

from dashboard import text
from dashboard.pipeline import pipeline
from dashboard.snapshot import Snapshot, take
from dashboard.verdict import judge
from desk.commands import PrintingCommand

EVERY = 5.0
"""Seconds between two looks of --watch."""

PATIENCE = 1.0
"""Seconds that a single look may spend on counting. Each look of --watch counts only a little, as the page does."""

_CLEAR = "\x1b[H\x1b[2J\x1b[3J"


class Command(PrintingCommand):
    """Ends with 0 when all is well, with 1 when something is to be looked at; --watch with 0 on Ctrl-C."""

    help = "Says how the pipeline stands, as the first page of the admin does. Ends with 1 when all is not well."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object; with --watch one a line")
        parser.add_argument("--watch", action="store_true", help=f"again every {EVERY:g} s, until Ctrl-C")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            while True:
                snapshot = take(pipeline(), patience=0.0 if options["watch"] else PATIENCE)
                is_well = self._show(snapshot, as_json=options["json"], clear=options["watch"] and sys.stdout.isatty())
                if not options["watch"]:
                    break
                time.sleep(EVERY)
        except KeyboardInterrupt:
            return
        if not is_well:
            raise SystemExit(1)

    def _show(self, snapshot: Snapshot, *, as_json: bool, clear: bool) -> bool:
        verdict = judge(snapshot)
        if as_json:
            self.stdout.write(json.dumps(text.as_json(snapshot, verdict)))
        else:
            width = min(100, shutil.get_terminal_size((100, 24)).columns)
            lines = "\n".join(text.as_text(snapshot, verdict, width=width))
            self.stdout.write((_CLEAR if clear else "") + lines)
        self.stdout.flush()
        return verdict.is_well
