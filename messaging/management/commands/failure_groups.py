import json
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandError

from desk.commands import DatabaseCommand
from desk.display import facts, one_line, printable, table, to_the_second
from messaging import failure_groups
from messaging.management.operator import operator
from messaging.models import FailureGroup, OperatorAction

_DECISIONS: dict[str, tuple[str, Callable[..., FailureGroup]]] = {
    "take": ("say that you look at it", failure_groups.take),
    "resolve": ("say that it is mended; it opens again by itself when it comes back", failure_groups.resolve),
    "reopen": ("say that nobody looks at it, or that it is not mended after all", failure_groups.reopen),
}
_STATES = ["unresolved", *FailureGroup.State.values, "all"]


class Command(DatabaseCommand):
    """Ends with 0, with 1 when something asked for could not be done, with 2 for wrong arguments or no database."""

    help = "Lists and shows what fails, by error, place in the code and type of message, and says who looks at it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="what", required=True, metavar="list|show|take|resolve|reopen|note")

        listing = commands.add_parser("list", help="the groups seen last: not resolved, or dead letters wait")
        listing.add_argument("--state", choices=_STATES, default="unresolved", help="others than these")
        listing.add_argument("--limit", type=int, default=50, help="at most so many (50); 0 for all")
        listing.add_argument("--json", action="store_true", help="one JSON object a line")

        show = commands.add_parser("show", help="everything about one")
        show.add_argument("id", type=int)
        show.add_argument("--json", action="store_true", help="one JSON object")

        for verb, (text, _) in _DECISIONS.items():
            decide = commands.add_parser(verb, help=text)
            decide.add_argument("id", type=int)
            decide.add_argument("--reason", default="", metavar="TEXT", help="why; kept with what was done")
            _add_by(decide)

        note = commands.add_parser("note", help="replace its note")
        note.add_argument("id", type=int)
        note.add_argument("text", help='the note; "" removes it')
        _add_by(note)

    def handle(self, *args: Any, **options: Any) -> None:
        match options["what"]:
            case "list":
                self._list(options)
            case "show":
                self._show(_found(options["id"]), as_json=options["json"])
            case "note":
                _found(options["id"])
                failure_groups.note(group_id=options["id"], by=options["by"], text=options["text"])
                self.stdout.write(f"The note of failure group {options['id']} is kept.")
            case verb:
                _found(options["id"])
                _, decide = _DECISIONS[verb]
                group = decide(group_id=options["id"], by=options["by"], reason=options["reason"])
                self.stdout.write(f"Failure group {group.pk} is {_state(group)}.")

    def _list(self, options: dict[str, Any]) -> None:
        rows = FailureGroup.objects.order_by("-last_seen_at", "-pk")
        if options["state"] == "unresolved":
            rows = rows.filter(failure_groups.unresolved())
        elif options["state"] != "all":
            rows = rows.filter(state=options["state"])
        limit = max(options["limit"], 0) or None
        found = list(rows[: limit and limit + 1])
        waiting = failure_groups.waiting(group.pk for group in found)
        types = failure_groups.newest_types(group.pk for group in found)
        if options["json"]:
            for group in found[:limit]:
                self.stdout.write(json.dumps(_as_json(group, waiting.get(group.pk, 0))))
            return
        if not found:
            self.stdout.write("No failure is open." if options["state"] == "unresolved" else "No such failure group.")
            return
        header = ("ID", "STATE", "WAITING", "SEEN", "LAST SEEN (UTC)", "FIRST SEEN (UTC)", "RELEASE", "TYPE", "FAILURE")
        cells = [_cells(group, waiting.get(group.pk, 0), types.get(group.pk, group.type)) for group in found[:limit]]
        for line in table(header, cells):
            self.stdout.write(line)
        if limit and len(found) > limit:
            self.stdout.write(f"There are more than {limit}: raise --limit, or choose a --state.")

    def _show(self, group: FailureGroup, *, as_json: bool) -> None:
        waiting = failure_groups.waiting([group.pk]).get(group.pk, 0)
        trend = failure_groups.trends([group.pk], hours=24)[group.pk]
        actions = list(OperatorAction.objects.filter(group_id=group.pk, dead_letter_id=None)[:20])
        newest = next(iter(failure_groups.newest_letters(group, limit=1)), None)
        if as_json:
            more = {
                "last_24_hours": trend,
                "newest_dead_letter": newest and newest.pk,
                "traceback": newest.traceback if newest else "",
                "actions": [
                    {"at": action.at.isoformat(), "by": action.by, "action": action.action, "reason": action.reason}
                    for action in actions
                ],
            }
            self.stdout.write(json.dumps(_as_json(group, waiting) | more))
            return
        values = {
            "id": group.pk,
            "state": _state(group),
            "error": group.error_type,
            "place": group.place or "unknown",
            "type": failure_groups.type_in_words(newest.type if newest else group.type),
            "said": group.sample,
            "waiting now": f"{waiting} dead letters (manage.py dead_letters list --group {group.pk})",
            "occurrences": group.occurrences,
            "last 24 hours": " ".join(map(str, trend)),
            "first seen": f"{to_the_second(group.first_seen_at)} {group.first_release}".strip(),
            "last seen": f"{to_the_second(group.last_seen_at)} {group.last_release}".strip(),
            "note": group.note or "none",
        }
        for line in facts(values):
            self.stdout.write(line)
        for action in actions:
            self.stdout.write(
                one_line(f"{to_the_second(action.at)} {action.action} by {action.by} {action.reason}", width=500)
            )
        if newest and newest.traceback:
            self.stdout.write(f"\nDead letter {newest.pk}:\n{printable(newest.traceback)}")


def _add_by(parser: ArgumentParser) -> None:
    parser.add_argument("--by", default=operator(), metavar="NAME", help="who decides this; kept with it")


def _found(pk: int) -> FailureGroup:
    group = FailureGroup.objects.filter(pk=pk).first()
    if group is None:
        raise CommandError(f"There is no failure group {pk}.")
    return group


def _state(group: FailureGroup) -> str:
    match group.state:
        case FailureGroup.State.TAKEN:
            return f"being looked at by {printable(group.owner)}"
        case FailureGroup.State.RESOLVED:
            return f"resolved by {printable(group.changed_by)}"
        case _:
            return "open"


def _cells(group: FailureGroup, waiting: int, newest_type: str) -> tuple[str, ...]:
    return (
        str(group.pk),
        group.state + (f" by {one_line(group.owner, width=20)}" if group.state == FailureGroup.State.TAKEN else ""),
        str(waiting),
        str(group.occurrences),
        to_the_second(group.last_seen_at),
        to_the_second(group.first_seen_at),
        one_line(group.first_release, width=20) or "-",
        failure_groups.type_in_words(newest_type),
        one_line(f"{group.error_type} in {group.place or 'unknown place'}: {group.sample}", width=500),
    )


def _as_json(group: FailureGroup, waiting: int) -> dict[str, Any]:
    return {
        "id": group.pk,
        "fingerprint": str(group.fingerprint),
        "state": group.state,
        "owner": group.owner,
        "note": group.note,
        "changed_at": group.changed_at and group.changed_at.isoformat(),
        "changed_by": group.changed_by,
        "error_type": group.error_type,
        "place": group.place,
        "type": group.type,
        "sample": group.sample,
        "waiting": waiting,
        "occurrences": group.occurrences,
        "first_seen_at": group.first_seen_at.isoformat(),
        "last_seen_at": group.last_seen_at.isoformat(),
        "first_release": group.first_release,
        "last_release": group.last_release,
    }
