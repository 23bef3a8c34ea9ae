from argparse import ArgumentParser
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.core.management.base import CommandError

from desk.commands import DatabaseCommand
from desk.display import duration, printable, table, to_the_millisecond
from timeline.assembly import Step, Timeline, as_json, timeline_of
from timeline.event import SERVICES

_SHOWN = ("error", "place", "reason", "why", "last_error", "next_try_at", "took_ms", "lines", "found_by")
"""What a line shows of an event's detail; the JSON has all of it."""


class Command(DatabaseCommand):
    help = (
        "Tells what happened to an order, step by step, with the time between. The order service asks the processor "
        "for its half; the processor tells its own alone. Ends with 1 when this service does not know the order, with "
        "2 when its database cannot be asked."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("order_id", help="the id of the order")
        parser.add_argument("--json", action="store_true", help="one JSON object, as the API answers it")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            timeline = timeline_of(UUID(options["order_id"]))
        except ValueError:
            raise CommandError(f"{printable(options['order_id'])} is no order id.", returncode=1) from None
        # The processor has a timeline for any id: one without steps is of no order.
        if timeline is None or not timeline.steps:
            raise CommandError(f"This service knows no order {options['order_id']}.", returncode=1)
        if options["json"]:
            self.stdout.write(orjson.dumps(as_json(timeline), option=orjson.OPT_INDENT_2).decode())
        else:
            self._tell(timeline)

    def _tell(self, timeline: Timeline) -> None:
        self.stdout.write(f"Order {timeline.order_id}: {timeline.status}")
        if timeline.correlation_id:
            self.stdout.write(f"Correlation id: {printable(timeline.correlation_id)}")
        self.stdout.write(printable(timeline.summary))
        for note in timeline.notes:
            self.stdout.write(f"Note: {printable(note)}")
        if not settings.TIMELINE.get("PEER"):
            self.stdout.write("This is the processor's half; the order service's `manage.py trace` tells the whole.")
        self.stdout.write("")
        header = ("AT (UTC)", "AFTER", "SERVICE", "WHAT", "")
        for line in table(header, [_line(step) for step in timeline.steps]):
            self.stdout.write(line)


def _line(step: Step) -> tuple[str, ...]:
    event = step.event
    after = "" if step.seconds is None else f"+{duration(step.seconds)}"
    shown = [f"{name}: {event.detail[name]}" for name in _SHOWN if name in event.detail]
    detail = " ".join(printable("; ".join(shown)).split())
    return to_the_millisecond(event.at), after, SERVICES[event.service], printable(event.title), detail
