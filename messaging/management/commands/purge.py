from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone
from tqdm import tqdm

from desk.commands import DatabaseCommand
from messaging import retention
from messaging.conf import config
from messaging.errors import ConfigurationError


class Command(DatabaseCommand):
    """Ends with 0, or with 1 when the retention is too short or too long, with 2 without a database.

    Safe to run beside everything else, and twice.
    """

    help = (
        "Removes inbox rows, settled dead letters, failed attempts, resolved failure groups and replays that are over, "
        "older than the retention. Dead letters that wait, what operators did, and what the business keeps stay."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--days", type=int, help="keep so many days instead of MESSAGING_RETENTION_DAYS")
        parser.add_argument("--batch", type=int, default=retention.BATCH_SIZE, help="rows a transaction (1000)")
        parser.add_argument("--dry-run", action="store_true", help="only say how many there are")

    def handle(self, *args: Any, **options: Any) -> None:
        settings = config()
        days: int = settings.retention_days if options["days"] is None else options["days"]
        if options["batch"] < 1 or (options["days"] or 0) > retention.LONGEST:
            raise CommandError(f"--batch is 1 or more, --days at most {retention.LONGEST}.", returncode=2)
        try:
            retention.check_retention(settings, days=days)
        except ConfigurationError as error:
            raise CommandError(str(error)) from error
        before = timezone.now() - timedelta(days=days)
        if options["dry_run"]:
            self.stdout.write(f"Would remove {_said(retention.expired(before=before), days)}")
            return
        with tqdm(disable=None, unit=" rows", leave=False) as bar:
            purged = retention.purge(before=before, batch_size=options["batch"], on_batch=bar.update)
        self.stdout.write(f"Removed {_said(purged, days)}")


def _said(purge: retention.Purge, days: int) -> str:
    return (
        f"{purge.inbox} inbox rows, {purge.dead_letters} settled dead letters, {purge.failed_attempts} failed "
        f"attempts, {purge.failure_groups} resolved failure groups and {purge.replays} replays older than {days} days."
    )
