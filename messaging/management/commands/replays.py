import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from desk.commands import DatabaseCommand
from desk.display import one_line, table, to_the_second
from messaging import replays
from messaging.management.operator import operator
from messaging.management.replay_output import as_dict, outcomes, raise_unless_handled, show, watch
from messaging.models import Replay

_VERBS = {
    "pause": ("send nothing more until it is resumed", "paused", replays.pause),
    "resume": ("go on; after a stop the canary begins again with one message", "resumed", replays.resume),
    "cancel": ("end it: what was not sent stays among the dead letters", "cancelled", replays.cancel),
}


class Command(DatabaseCommand):
    """Ends with 0, with 1 when something asked for could not be done, with 2 for wrong arguments or no database."""

    help = "Lists, shows and holds the replays of dead letters, which the consumers carry out."

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="what", required=True, metavar="list|show|pause|resume|cancel")

        listing = commands.add_parser("list", help="the newest replays")
        listing.add_argument("--state", choices=[*Replay.State.values, "all"], default="all")
        listing.add_argument("--limit", type=int, default=20, help="at most so many (20); 0 for all")
        listing.add_argument("--json", action="store_true", help="one JSON object a line")

        showing = commands.add_parser("show", help="how far one is, and what became of its messages, problems first")
        showing.add_argument("id", type=int)
        showing.add_argument("--watch", action="store_true", help="wait until it is over; then 1 unless all went well")
        showing.add_argument("--limit", type=int, default=50, help="at most so many messages (50); 0 for all")
        showing.add_argument("--json", action="store_true", help="one JSON object")

        for verb, (text, _, _) in _VERBS.items():
            holding = commands.add_parser(verb, help=text)
            holding.add_argument("id", type=int)
            holding.add_argument("--reason", default="", help="kept with what was done")
            holding.add_argument("--by", default=operator(), metavar="NAME", help="who decides this; kept with it")
            holding.add_argument("--json", action="store_true", help="the replay as it is then, as one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        match options["what"]:
            case "list":
                self._list(options)
            case "show":
                self._show(options)
            case verb:
                self._hold(verb, options)

    def _list(self, options: dict[str, Any]) -> None:
        rows = Replay.objects.order_by("-pk")
        if options["state"] != "all":
            rows = rows.filter(state=options["state"])
        found = list(rows[: max(options["limit"], 0) or None])
        if options["json"]:
            for row in found:
                self.stdout.write(json.dumps(as_dict(row) | {"outcomes": outcomes(replays.progress(row))}))
        elif not found:
            self.stdout.write("No such replay." if options["state"] != "all" else "Nothing has been replayed yet.")
        else:
            header = ("ID", "STATE", "MESSAGES", "STARTED (UTC)", "BY", "HOW IT STANDS")
            for line in table(header, [_cells(row) for row in found]):
                self.stdout.write(line)

    def _show(self, options: dict[str, Any]) -> None:
        replay = _replay(options["id"])
        if options["watch"]:
            replay = watch(replay, say=self.stderr.write)
        show(replay, as_json=options["json"], limit=max(options["limit"], 0), out=self.stdout)
        if options["watch"]:
            raise_unless_handled(replay)

    def _hold(self, verb: str, options: dict[str, Any]) -> None:
        _, done, do = _VERBS[verb]
        try:
            do(replay_id=options["id"], by=options["by"], reason=options["reason"])
        except replays.ReplayError as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps(as_dict(_replay(options["id"]))))
        else:
            self.stdout.write(f"Replay {options['id']} {done}.")


def _replay(replay_id: int) -> Replay:
    replay = Replay.objects.filter(pk=replay_id).first()
    if replay is None:
        raise CommandError(f"There is no replay {replay_id}.")
    return replay


def _cells(row: Replay) -> tuple[str, ...]:
    return (
        str(row.pk),
        row.state,
        f"{row.total:,}",
        to_the_second(row.created_at),
        one_line(row.created_by, width=40),
        one_line(f"{replays.standing(row)} {'' if row.state_reason else row.reason}", width=500),
    )
