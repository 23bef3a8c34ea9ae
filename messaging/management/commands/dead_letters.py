import base64
import getpass
import json
import sys
from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import QuerySet
from django.utils import timezone
from tqdm import tqdm

from messaging import dead_letters
from messaging.display import one_line, printable, readable_body, readable_size, table
from messaging.models import DeadLetter

_VERBS = {
    "replay": ("send them to the work queue again", "replayed", dead_letters.replay),
    "discard": ("settle them without sending them again", "discarded", dead_letters.discard),
}
_FILTERS = {"type": "type", "error": "error_type", "queue": "queue"}


class Command(BaseCommand):
    """Ends with 0, with 1 when something asked for could not be done, with 2 for wrong arguments."""

    help = "Lists and shows the messages that could not be handled, and replays or discards them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="what", required=True, metavar="list|show|replay|discard")

        listing = commands.add_parser("list", help="the newest dead letters, those that wait unless told otherwise")
        listing.add_argument("--status", choices=[*DeadLetter.Status.values, "all"], default="waiting")
        _add_filters(listing)
        listing.add_argument("--limit", type=int, default=50, help="at most so many (50); 0 for all")
        listing.add_argument("--json", action="store_true", help="one JSON object a line")

        show = commands.add_parser("show", help="everything about one")
        show.add_argument("id", type=int)
        show.add_argument("--json", action="store_true", help="one JSON object; a body that is no text in base64")

        for verb, (text, _, _) in _VERBS.items():
            settle = commands.add_parser(verb, help=text)
            settle.add_argument("ids", type=int, nargs="*", metavar="ID")
            settle.add_argument("--all", action="store_true", help="all that wait, or those of them the filters choose")
            _add_filters(settle)
            settle.add_argument("--by", default=_user(), metavar="NAME", help="who decides this; kept with them")
            settle.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *args: Any, **options: Any) -> None:
        match options["what"]:
            case "list":
                self._list(options)
            case "show":
                self._show(options)
            case verb:
                self._settle(verb, options)

    def _list(self, options: dict[str, Any]) -> None:
        rows = _filtered(options).order_by("-last_failed_at", "-pk").defer("headers", "body", "traceback")
        if options["status"] != "all":
            rows = rows.filter(status=options["status"])
        limit = max(options["limit"], 0) or None
        if options["json"]:
            for row in rows[:limit].iterator():
                self.stdout.write(json.dumps(_as_json(row)))
            return
        found = list(rows[: limit and limit + 1])
        if not found:
            self.stdout.write("No dead letter waits." if options["status"] == "waiting" else "No such dead letter.")
            return
        header = ("ID", "STATUS", "TYPE", "TRIED", "SEEN", "LAST FAILURE", "ERROR")
        for line in table(header, [_cells(row) for row in found[:limit]]):
            self.stdout.write(line)
        if limit and len(found) > limit:
            self.stdout.write(f"There are more than {limit}: raise --limit, or filter with --type, --error, --queue.")

    def _show(self, options: dict[str, Any]) -> None:
        row = DeadLetter.objects.filter(pk=options["id"]).first()
        if row is None:
            raise CommandError(_unknown([options["id"]]))
        if options["json"]:
            self.stdout.write(json.dumps(_as_json(row) | _content_as_json(row)))
            return
        body = readable_body(bytes(row.body))
        facts = {
            "id": row.pk,
            "status": row.status + (f" by {row.settled_by}, {_time(row.settled_at)}" if row.settled_at else ""),
            "error": f"{row.error_type}: {row.error_message}",
            "attempts": row.attempts,
            "occurrences": row.occurrences,
            "first failure": _time(row.first_failed_at),
            "last failure": _time(row.last_failed_at),
            "message id": row.message_id,
            "correlation id": row.correlation_id,
            "type": row.type or "untyped",
            "queue": row.queue,
            **{f"header {name}": value for name, value in sorted(row.headers.items())},
            "body": f"{body.kind}, {readable_size(body.size)}" + (", the beginning of it" if body.is_cut else ""),
        }
        width = max(map(len, facts)) + 2
        for name, value in facts.items():
            self.stdout.write(f"{printable(name):<{width}}{printable(str(value))}")
        self.stdout.write(f"\n{body.text}")
        if row.traceback:
            self.stdout.write(f"\n{printable(row.traceback)}")

    def _settle(self, verb: str, options: dict[str, Any]) -> None:
        _, done, settle = _VERBS[verb]
        ids = set(options["ids"])
        if bool(ids) == options["all"] or (ids and any(options[option] for option in _FILTERS)):
            raise CommandError(f"Say which: {verb} ID…, or {verb} --all with or without filters.", returncode=2)
        chosen = DeadLetter.objects.filter(pk__in=ids) if ids else _filtered(options)
        if unknown := ids and ids.difference(chosen.values_list("pk", flat=True)):
            raise CommandError(f"{_unknown(sorted(unknown))} Nothing was {done}.")
        settled_before = list(chosen.exclude(status=DeadLetter.Status.WAITING).order_by("pk")) if ids else []
        total = chosen.filter(status=DeadLetter.Status.WAITING).count()
        if total and options["all"] and not options["yes"]:
            _ask(verb, done, total)
        with tqdm(total=total, disable=None, unit=" messages", leave=False) as bar:
            number = settle(dead_letters=chosen, by=options["by"], on_settled=lambda chunk: bar.update(len(chunk)))
        self.stdout.write(f"{number} dead letter{'' if number == 1 else 's'} {done}.")
        if settled_before:
            raise CommandError(
                "Left alone: " + ", ".join(f"{row.pk} was {row.status} by {row.settled_by}" for row in settled_before)
            )
        if number < total:
            raise CommandError(f"Left alone: {total - number} that somebody else settled at the same time.")


def _add_filters(parser: ArgumentParser) -> None:
    parser.add_argument("--type", help="only of this message type")
    parser.add_argument("--error", metavar="TYPE", help="only with this error type, like InvalidMessageError")
    parser.add_argument("--queue", help="only from this queue")


def _filtered(options: dict[str, Any]) -> QuerySet[DeadLetter]:
    given = {field: options[option] for option, field in _FILTERS.items() if options[option] is not None}
    return DeadLetter.objects.filter(**given)


def _ask(verb: str, done: str, total: int) -> None:
    if not sys.stdin.isatty():
        raise CommandError(f"{total} dead letters would be {done}: add --yes when nobody is there to ask.")
    if input(f"{verb.capitalize()} {total} dead letters? [y/N] ").strip().lower() not in ("y", "yes"):
        raise CommandError(f"Nothing was {done}.")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "manage.py"


def _unknown(ids: list[int]) -> str:
    return f"There is no dead letter {', '.join(map(str, ids))}."


def _time(value: datetime) -> str:
    return f"{timezone.localtime(value):%Y-%m-%d %H:%M:%S}"


def _cells(row: DeadLetter) -> tuple[str, ...]:
    return (
        str(row.pk),
        row.status,
        one_line(row.type, width=40) or "untyped",
        str(row.attempts),
        str(row.occurrences),
        _time(row.last_failed_at),
        one_line(f"{row.error_type}: {row.error_message}", width=500),
    )


def _as_json(row: DeadLetter) -> dict[str, Any]:
    return {
        "id": row.pk,
        "status": row.status,
        "type": row.type,
        "message_id": str(row.message_id),
        "correlation_id": row.correlation_id,
        "queue": row.queue,
        "error_type": row.error_type,
        "error_message": row.error_message,
        "attempts": row.attempts,
        "occurrences": row.occurrences,
        "first_failed_at": row.first_failed_at.isoformat(),
        "last_failed_at": row.last_failed_at.isoformat(),
        "settled_at": row.settled_at and row.settled_at.isoformat(),
        "settled_by": row.settled_by,
    }


def _content_as_json(row: DeadLetter) -> dict[str, Any]:
    content = {"headers": row.headers, "traceback": row.traceback}
    try:
        return content | {"body": bytes(row.body).decode()}
    except UnicodeDecodeError:
        return content | {"body_base64": base64.b64encode(row.body).decode()}
