"""A dry run, for a page that shows it."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import QuerySet

from messaging import dry_run
from messaging.dry_run import DryRun, Verdict
from messaging.models import DeadLetter

DRY_RUNS = 25
DRY_RUN_SECONDS = 10.0
"""A page tries no more messages than this, and begins none after this many seconds."""

VERDICT_KINDS = {
    Verdict.PASSES: "good",
    Verdict.FAILS: "bad",
    Verdict.EFFECTIVE: "quiet",
    Verdict.UNKNOWN: "waiting",
}


@dataclass(frozen=True, slots=True)
class Trial:
    """A dry run for a page."""

    runs: Sequence[tuple[DryRun, str]]
    """Each with the kind of its badge."""
    not_tried: int

    @property
    def summary(self) -> str:
        counts = {verdict: sum(run.verdict == verdict for run, _ in self.runs) for verdict in Verdict}
        return ", ".join(f"{number} {verdict}" for verdict, number in counts.items() if number) or "none was tried"


def try_some(rows: QuerySet[DeadLetter] | Sequence[DeadLetter], count: int) -> Trial:
    """Tries the first of the rows, of which there are `count`; changes nothing."""
    chosen = rows.order_by("pk").defer("traceback")[:DRY_RUNS] if isinstance(rows, QuerySet) else rows
    # Reads all of them first: the cursor of an iteration does not outlive the transactions that are undone.
    runs = dry_run.dry_run(list(chosen), within=DRY_RUN_SECONDS)
    return Trial([(run, VERDICT_KINDS[run.verdict]) for run in runs], count - len(runs))
