import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError

from desk.commands import PrintingCommand
from desk.display import table
from messaging import topology, topology_diff
from messaging.conf import MessagingConfig, config
from messaging.errors import BrokerUnavailableError, ConfigurationError


class Command(PrintingCommand):
    """Ends with 0, with 1 for differences or a conflict, with 2 when the broker cannot be asked."""

    help = "Shows what this service needs on the broker, how the live broker differs, and declares what is missing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="what", required=True, metavar="show|diff|apply")
        show = commands.add_parser("show", help="exchanges, queues with their arguments, and bindings; asks no broker")
        show.add_argument("--json", action="store_true", help="one JSON object")
        commands.add_parser("diff", help="what is missing, other or too much on the live broker; changes nothing")
        apply = commands.add_parser("apply", help="declare what is missing; never changes or deletes anything")
        apply.add_argument(
            "--rebind",
            action="store_true",
            help="then take each binding off and declare it again, for a broker that lists it and does not route by it",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            settings = config()
            match options["what"]:
                case "show":
                    self._show(settings, as_json=options["json"])
                case "diff":
                    self._diff(settings)
                case "apply":
                    topology.apply(settings)
                    if options["rebind"]:
                        topology.rebind(settings)
                    self.stdout.write("All that this service needs is on the broker.")
        except BrokerUnavailableError as error:
            raise CommandError(str(error), returncode=2) from error
        except ConfigurationError as error:
            is_conflict = isinstance(error, topology.TopologyConflictError)
            raise CommandError(str(error), returncode=1 if is_conflict else 2) from error

    def _show(self, settings: MessagingConfig, *, as_json: bool) -> None:
        wanted = topology.describe(settings)
        if as_json:
            self.stdout.write(json.dumps(asdict(wanted), indent=2))
            return
        for line in table(("EXCHANGE", "TYPE"), [(it.name, it.kind) for it in wanted.exchanges]):
            self.stdout.write(line)
        self.stdout.write("")
        rows = [
            (queue.name if index == 0 else "", f"{name} = {value}")
            for queue in wanted.queues
            for index, (name, value) in enumerate(sorted(queue.arguments.items()))
        ]
        for line in table(("QUEUE", "ARGUMENTS"), rows):
            self.stdout.write(line)
        self.stdout.write("")
        bindings = [(it.exchange, it.routing_key, it.queue) for it in wanted.bindings]
        for line in table(("FROM EXCHANGE", "BY ROUTING KEY", "TO QUEUE"), bindings):
            self.stdout.write(line)

    def _diff(self, settings: MessagingConfig) -> None:
        comparison = topology_diff.compare(settings)
        for difference in comparison.differences:
            self.stdout.write(difference.text)
            if difference.remedy:
                self.stdout.write(f"    {difference.remedy}")
        for what in comparison.not_compared:
            self.stdout.write(f"not compared: {what}")
        if comparison.differences:
            raise SystemExit(1)
        self.stdout.write("The broker has what this service needs.")
