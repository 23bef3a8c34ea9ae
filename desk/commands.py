"""What the commands of `manage.py` have in common."""

from argparse import RawDescriptionHelpFormatter
from typing import Any

import psycopg
from django.core.management.base import BaseCommand, CommandError, DjangoHelpFormatter
from django.db import InterfaceError, OperationalError

from observability.errors import in_one_line


class HelpFormatter(DjangoHelpFormatter, RawDescriptionHelpFormatter):
    """A command's own options first, and its description as it is written."""


class DatabaseCommand(BaseCommand):
    """Ends with 2 and a sentence when this service's database cannot be asked."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except (OperationalError, InterfaceError, psycopg.OperationalError) as error:  # COPY raises the driver's own
            raise CommandError(
                f"This service's database cannot be asked: {in_one_line(error)}", returncode=2
            ) from error
