"""What the commands of `manage.py` have in common."""

import os
import sys
from argparse import RawDescriptionHelpFormatter
from typing import Any

import psycopg
from django.core.management.base import BaseCommand, CommandError, DjangoHelpFormatter
from django.db import InterfaceError, OperationalError

from observability.errors import in_one_line


class HelpFormatter(DjangoHelpFormatter, RawDescriptionHelpFormatter):
    """Shows a command's own options first, and its description as it is written."""


class PrintingCommand(BaseCommand):
    """Ends with 1, silently, when nobody reads its output any more, as with `| head`."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            try:
                return super().execute(*args, **options)
            finally:
                sys.stdout.flush()  # here: at its exit, Python could only complain
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to write goes nowhere
            raise SystemExit(1) from None


class DatabaseCommand(PrintingCommand):
    """Ends with 2 when this service's database cannot be asked, with 130 when it is stopped; a sentence says so."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except (OperationalError, InterfaceError, psycopg.OperationalError) as error:  # COPY raises the driver's own
            raise CommandError(
                f"This service's database cannot be asked: {in_one_line(error)}", returncode=2
            ) from error
        except KeyboardInterrupt:
            raise CommandError("Stopped. What was done until then is kept.", returncode=130) from None
