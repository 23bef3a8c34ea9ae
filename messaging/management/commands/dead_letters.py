import base64
import json
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from itertools import batched, islice
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.db.models import QuerySet
from tqdm import tqdm

from desk.commands import DatabaseCommand
from desk.display import facts, number_of, one_line, printable, table, to_the_second
from messaging import dead_letters, dry_run, editing, replays
from messaging.bodies import readable_body
from messaging.dry_run import DryRun, Verdict
from messaging.management.operator import operator
from messaging.management.replay_output import as_dict, raise_unless_handled, show, watch
from messaging.models import DeadLetter

_VERBS: dict[str, tuple[str, str, Callable[..., int]]] = {
    "replay": ("send them to the work queue again", "replayed", dead_letters.replay),
    "discard": ("settle them without sending them again", "discarded", dead_letters.discard),
}
_FILTERS = {"type": "type", "error": "error_type", "queue": "queue", "group": "group"}
_SHOWN_MESSAGES = 20
_BLOCK = 1000


class Command(DatabaseCommand):
    """Ends with 0, with 1 when something asked for could not be done, with 2 for wrong arguments or no database."""

    help = "Lists and shows the messages that could not be handled, and tries, replays, edits or discards them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="what", required=True, metavar="list|show|dry-run|replay|edit|discard")

        listing = commands.add_parser("list", help="the newest dead letters, those that wait unless told otherwise")
        listing.add_argument("--status", choices=[*DeadLetter.Status.values, "all"], default="waiting")
        _add_filters(listing)
        listing.add_argument("--limit", type=int, default=50, help="at most so many (50); 0 for all")
        listing.add_argument("--json", action="store_true", help="one JSON object a line")

        show = commands.add_parser("show", help="everything about one")
        show.add_argument("id", type=int)
        show.add_argument("--json", action="store_true", help="one JSON object; a body that is no text in base64")

        trial = commands.add_parser("dry-run", help="what a replay would come to: really done, and undone")
        _add_choice(trial)
        trial.add_argument("--json", action="store_true", help="one JSON object a line")

        for verb, (text, _, _) in _VERBS.items():
            settle = commands.add_parser(verb, help=text)
            _add_choice(settle)
            _add_decision(settle)
            if verb == "replay":
                settle.add_argument(
                    "--canary", action="store_true",
                    help="first 1, then 5, then 25, and only then the rest; done by the consumers, it stops by itself",
                )  # fmt: skip
                settle.add_argument(
                    "--rate",
                    type=int,
                    metavar="N",
                    help="N messages a second (50), by the consumers; with a canary after it",
                )
                settle.add_argument("--no-wait", action="store_true", help="do not wait for a canary or rate to end")
                settle.add_argument("--json", action="store_true", help="of a canary or rate: one JSON object")

        edit = commands.add_parser("edit", help="send one again with another body, in place of its own")
        edit.add_argument("id", type=int)
        edit.add_argument("--file", required=True, type=Path, help="the new body")
        _add_decision(edit)

    def handle(self, *args: Any, **options: Any) -> None:
        match options["what"]:
            case "list":
                self._list(options)
            case "show":
                self._show(options)
            case "dry-run":
                self._dry_run(options)
            case "edit":
                self._edit(options)
            case "replay" if options["canary"] or options["rate"] is not None:
                self._start_replay(options)
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
        found = rows[: limit and limit + 1].iterator()
        header = ("ID", "STATUS", "TYPE", "TRIED", "SEEN", "LAST FAILURE (UTC)", "ERROR")
        shown = 0
        # All of them may not fit into memory, so each block has columns as wide as it needs.
        for block in batched(islice(found, limit), _BLOCK):
            for line in table(header, [_cells(row) for row in block])[bool(shown) :]:
                self.stdout.write(line)
            shown += len(block)
        if not shown:
            self.stdout.write(_none_waits() if options["status"] == "waiting" else "No such dead letter.")
        if next(found, None):
            self.stdout.write(
                f"There are more than {limit}: raise --limit, or filter with --type, --error, --queue, --group."
            )

    def _show(self, options: dict[str, Any]) -> None:
        row = DeadLetter.objects.filter(pk=options["id"]).first()
        if row is None:
            raise CommandError(_unknown([options["id"]]))
        if options["json"]:
            self.stdout.write(json.dumps(_as_json(row) | _content_as_json(row)))
            return
        body = readable_body(bytes(row.body))
        values = {
            "id": row.pk,
            "status": row.status + (f" by {row.settled_by}, {to_the_second(row.settled_at)}" if row.settled_at else ""),
            "error": f"{row.error_type}: {row.error_message}",
            "attempts": row.attempts,
            "occurrences": row.occurrences,
            "first failure": to_the_second(row.first_failed_at),
            "last failure": to_the_second(row.last_failed_at),
            "message id": row.message_id,
            "correlation id": row.correlation_id,
            "type": row.type or "untyped",
            "about": row.subject or "nothing that can be read",
            "failure group": row.group_id or "none",
            "queue": row.queue,
            **{f"header {name}": value for name, value in sorted(row.headers.items())},
            "body": body.summary,
        }
        for line in facts(values):
            self.stdout.write(line)
        self.stdout.write(f"\n{body.text}")
        if row.traceback:
            self.stdout.write(f"\n{printable(row.traceback)}")

    def _settle(self, verb: str, options: dict[str, Any]) -> None:
        _, done, settle = _VERBS[verb]
        chosen, settled_before, total = self._choose(verb, done, options)
        with tqdm(total=total, disable=None, unit=" messages", leave=False) as bar:
            number = settle(
                dead_letters=chosen,
                by=options["by"],
                reason=options["reason"],
                on_settled=lambda chunk: bar.update(len(chunk)),
            )
        self.stdout.write(f"{number_of(number, 'dead letter')} {done}.")
        _raise_if_left(settled_before, total - number)

    def _start_replay(self, options: dict[str, Any]) -> None:
        chosen, settled_before, total = self._choose("replay", "replayed", options)
        rate = 50 if options["rate"] is None else options["rate"]
        try:
            replay = replays.start(
                dead_letters=chosen, by=options["by"], reason=options["reason"], canary=options["canary"], rate=rate
            )
        except replays.ReplayError as error:
            raise CommandError(str(error)) from error
        if options["no_wait"]:
            self.stdout.write(json.dumps(as_dict(replay)) if options["json"] else f"Replay {replay.pk} has begun.")
        else:
            self.stderr.write(f"Replay {replay.pk} of {replay.total} dead letters has begun.")
            replay = watch(replay, say=self.stderr.write)
            show(replay, as_json=options["json"], limit=_SHOWN_MESSAGES, out=self.stdout)
            raise_unless_handled(replay)
        _raise_if_left(settled_before, total - replay.total)

    def _choose(
        self, verb: str, done: str, options: dict[str, Any]
    ) -> tuple[QuerySet[DeadLetter], list[DeadLetter], int]:
        """What is meant, which of it was settled before, and how much waits. Asks before `--all`, but for `--yes`."""
        ids = set(options["ids"])
        if bool(ids) == options["all"] or (ids and any(options[option] for option in _FILTERS)):
            raise CommandError(f"Say which: {verb} ID…, or {verb} --all with or without filters.", returncode=2)
        chosen = DeadLetter.objects.filter(pk__in=ids) if ids else _filtered(options)
        if unknown := ids and ids.difference(chosen.values_list("pk", flat=True)):
            raise CommandError(f"{_unknown(sorted(unknown))} Nothing was {done}.")
        settled_before = list(chosen.exclude(status=DeadLetter.Status.WAITING).order_by("pk")) if ids else []
        waiting = chosen.filter(status=DeadLetter.Status.WAITING)
        total = waiting.count()
        if total and options["all"] and not options.get("yes", True):
            _ask(verb, done, total)
        return waiting, settled_before, total

    def _dry_run(self, options: dict[str, Any]) -> None:
        chosen, settled_before, total = self._choose("dry-run", "tried", options)
        failed = 0
        ids = list(chosen.order_by("pk").values_list("pk", flat=True))
        lines: list[tuple[str, ...]] = []
        with tqdm(total=total, disable=None, unit=" messages", leave=False) as bar:
            for pk in ids:
                for row in DeadLetter.objects.filter(pk=pk, status=DeadLetter.Status.WAITING):
                    [run] = dry_run.dry_run([row])
                    failed += run.verdict in (Verdict.FAILS, Verdict.UNKNOWN)
                    if options["json"]:
                        self.stdout.write(json.dumps(_run_as_json(run)))
                    else:
                        lines.append(_run_cells(run))
                bar.update()
        if lines:
            for line in table(("ID", "ABOUT", "OUTCOME", "WHY"), lines):
                self.stdout.write(line)
        elif not options["json"]:
            self.stdout.write("None of them waits." if options["ids"] else _none_waits())
        if failed:
            raise CommandError(f"{failed} of {total} would fail or could not be tried. Nothing was changed.")
        _raise_if_left(settled_before, 0)

    def _edit(self, options: dict[str, Any]) -> None:
        row = DeadLetter.objects.filter(pk=options["id"]).first()
        if row is None:
            raise CommandError(_unknown([options["id"]]))
        if not options["reason"].strip():
            raise CommandError("Say why, with --reason.", returncode=2)
        try:
            body = options["file"].read_bytes()
        except OSError as error:
            raise CommandError(f"{options['file']} cannot be read: {error.strerror}.", returncode=2) from error
        seen = editing.version_of(row)
        try:
            editing.check(row, body)
            for line in editing.diff(bytes(row.body), body):
                self.stdout.write(line)
            if not options["yes"]:
                _ask("edit and replay", "edited", 1)
            editing.edit_and_replay(
                dead_letter_id=row.pk, body=body, by=options["by"], reason=options["reason"], seen=seen
            )
        except editing.EditError as error:
            raise CommandError(printable(str(error))) from error
        self.stdout.write(f"Dead letter {row.pk} superseded: the edited message is on its way.")


def _add_choice(parser: ArgumentParser) -> None:
    parser.add_argument("ids", type=int, nargs="*", metavar="ID")
    parser.add_argument("--all", action="store_true", help="all that wait, or those of them the filters choose")
    _add_filters(parser)


def _add_decision(parser: ArgumentParser) -> None:
    parser.add_argument("--by", default=operator(), metavar="NAME", help="who decides this; kept with them")
    parser.add_argument("--reason", default="", help="why; kept with them")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def _raise_if_left(settled_before: Sequence[DeadLetter], others: int) -> None:
    if settled_before:
        raise CommandError(
            "Left alone: " + ", ".join(f"{row.pk} was {row.status} by {row.settled_by}" for row in settled_before)
        )
    if others > 0:
        raise CommandError(f"Left alone: {others} that somebody else settled or replays at the same time.")


def _add_filters(parser: ArgumentParser) -> None:
    parser.add_argument("--type", help="only of this message type")
    parser.add_argument("--error", metavar="TYPE", help="only with this error type, like InvalidMessageError")
    parser.add_argument("--queue", help="only from this queue")
    parser.add_argument("--group", type=int, metavar="ID", help="only of this failure group")


def _filtered(options: dict[str, Any]) -> QuerySet[DeadLetter]:
    given = {field: options[option] for option, field in _FILTERS.items() if options[option] is not None}
    return DeadLetter.objects.filter(**given)


def _none_waits() -> str:
    """That none was found, without hiding those that a filter has left out."""
    others = DeadLetter.objects.filter(status=DeadLetter.Status.WAITING).count()
    waiting = f"{number_of(others, 'dead letter')} {'waits' if others == 1 else 'wait'}"
    return f"None matches; {waiting}." if others else "No dead letter waits."


def _ask(verb: str, done: str, total: int) -> None:
    if not sys.stdin.isatty():
        raise CommandError(f"{total} dead letters would be {done}: add --yes when nobody is there to ask.")
    answer = input(f"{verb.capitalize()} {number_of(total, 'dead letter')}? [y/N] ")
    if answer.strip().lower() not in ("y", "yes"):
        raise CommandError(f"Nothing was {done}.")


def _unknown(ids: list[int]) -> str:
    return f"There is no dead letter {', '.join(map(str, ids))}."


def _cells(row: DeadLetter) -> tuple[str, ...]:
    return (
        str(row.pk),
        row.status,
        one_line(row.type, width=40) or "untyped",
        str(row.attempts),
        str(row.occurrences),
        to_the_second(row.last_failed_at),
        one_line(f"{row.error_type}: {row.error_message}", width=500),
    )


def _as_json(row: DeadLetter) -> dict[str, Any]:
    return {
        "id": row.pk,
        "status": row.status,
        "type": row.type,
        "message_id": str(row.message_id),
        "correlation_id": row.correlation_id,
        "subject": row.subject,
        "group": row.group_id,
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


def _run_cells(run: DryRun) -> tuple[str, ...]:
    return (
        str(run.dead_letter_id),
        one_line(run.subject or str(run.message_id), width=64),
        run.verdict,
        one_line(run.explanation + (f" (in {run.place})" if run.place else ""), width=500),
    )


def _run_as_json(run: DryRun) -> dict[str, Any]:
    return {
        "id": run.dead_letter_id,
        "message_id": str(run.message_id),
        "subject": run.subject,
        "outcome": run.verdict,
        "error_type": run.error_type,
        "error_message": run.error_message,
        "place": run.place,
        "permanent": run.is_permanent,
    }
