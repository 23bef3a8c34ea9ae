"""Editing: a message that can never be handled as it stands is sent again with another body, once."""

import difflib

import msgspec
from django.db import transaction
from django.db.models.functions import Now

from desk.display import printable
from messaging import actions, dead_letters, dry_run, outbox
from messaging.bodies import indented
from messaging.errors import InvalidMessageError, MessagingError
from messaging.models import DeadLetter, InboxMessage
from messaging.storable import storable_text
from messaging.subject import subject_among_ours


class EditError(MessagingError):
    """The edited message cannot be sent, and nothing was done. The text says why, for people."""


class ChangedMeanwhileError(EditError):
    """Somebody has settled the dead letter, or it has failed again, since it was looked at."""


def version_of(dead_letter: DeadLetter) -> str:
    """The state of a dead letter, as `seen` of `edit_and_replay`. Changes with each failure and decision."""
    return f"{dead_letter.status} {dead_letter.occurrences} {dead_letter.last_failed_at.isoformat()}"


def check(dead_letter: DeadLetter, body: bytes) -> None:
    """Raises EditError when this body may not take the place of the dead letter's own.

    It must be another one, be valid for its type (else the error names the field), and be about the same business key,
    if the original's can be read: else both could take effect.
    """
    if _is_same(bytes(dead_letter.body), body):
        raise EditError("The body is as it was. To send it unchanged, replay it.")
    try:
        dry_run.read(edited(dead_letter, body))
    except InvalidMessageError as error:
        raise EditError(str(error)) from error
    before = subject_among_ours(bytes(dead_letter.body), dead_letter.type) or dead_letter.subject
    after = subject_among_ours(body, dead_letter.type)
    if before and after != before:
        raise EditError(
            f"The message is about {before}, and edited it would be about {after or 'nothing that can be read'}. "
            "What a message is about cannot be changed."
        )


def why_no_body_helps(dead_letter: DeadLetter) -> str:
    """What is wrong with the message besides its body: its type, its version or its headers. Empty when nothing is."""
    try:
        dry_run.read(dead_letter)
    except InvalidMessageError as error:
        if error.__cause__ is None:  # else it is what the decoder said of the body
            return str(error)
    return ""


def edited(dead_letter: DeadLetter, body: bytes) -> DeadLetter:
    """The dead letter as it would be with this body; not to be saved."""
    copy = DeadLetter(**{field.attname: getattr(dead_letter, field.attname) for field in DeadLetter._meta.fields})
    copy.body = body
    return copy


def edit_and_replay(*, dead_letter_id: int, body: bytes, by: str, reason: str, seen: str) -> DeadLetter:
    """Sends the message again with this body in place of its own, and returns the dead letter, superseded now.

    The message keeps its id, so that of the original and the edited one only one can ever take effect, whatever else
    is replayed. One transaction settles the dead letter, adds the message to the outbox and records the action with the
    difference. If the edited message fails again, it becomes a dead letter of its own.
    Raises EditError when the body may not be sent (see `check`), without a reason, or when the message has taken effect
    already; ChangedMeanwhileError when the dead letter is no longer as it was `seen`: two people who edit it at once
    send one. A crash in here: nothing was done.
    """
    if not reason.strip():
        raise EditError("Say why it is edited: the reason is kept with it.")
    with transaction.atomic():
        row = DeadLetter.objects.select_for_update().filter(pk=dead_letter_id).first()
        if row is None:
            raise ChangedMeanwhileError(f"There is no dead letter {dead_letter_id} any more.")
        if row.status != DeadLetter.Status.WAITING:
            raise ChangedMeanwhileError(f"It was {row.status} by {row.settled_by} meanwhile. Nothing was done.")
        if version_of(row) != seen:
            raise ChangedMeanwhileError("It has failed again meanwhile. Nothing was done: look at it once more.")
        check(row, body)
        if InboxMessage.objects.filter(message_id=row.message_id).exists():
            raise EditError("The message has taken effect already: an edited one would be ignored.")
        difference = diff(bytes(row.body), body)
        outbox.add([dead_letters.again(edited(row, body))])
        row.status = DeadLetter.Status.SUPERSEDED
        row.settled_by = storable_text(by, 255)
        row.settled_at = Now()
        row.save(update_fields=["status", "settled_by", "settled_at"])
        actions.record(action="edit", by=by, reason=reason, dead_letters=[row], detail={"diff": difference})
    row.refresh_from_db()
    return row


def editable(body: bytes) -> str | None:
    """The body as text to be edited, JSON indented; None when it is no text."""
    try:
        return _pretty(body)
    except UnicodeDecodeError:
        return None


def diff(old: bytes, new: bytes) -> list[str]:
    """The lines of a unified diff, of JSON as it reads indented. Nothing in them steers a terminal."""
    before, after = (_pretty(body, errors="backslashreplace").splitlines() for body in (old, new))
    return [printable(line) for line in difflib.unified_diff(before, after, "original", "edited", lineterm="")]


def _pretty(body: bytes, errors: str = "strict") -> str:
    try:
        return indented(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return body.decode(errors=errors)


def _is_same(old: bytes, new: bytes) -> bool:
    """Whether they differ in nothing but the white space that the form has put in."""
    return old == new or _pretty(old, errors="backslashreplace") == _pretty(new, errors="backslashreplace")
