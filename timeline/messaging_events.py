"""What messaging's tables tell of one order, the same in both services.

Everything is found by an index, except in the outbox: it has no index for this search, since each row would pay for it
and rows rarely stay for a second. So it is searched only while the order waits for something, and for no longer than
OUTBOX_MS.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import OperationalError, connection, transaction
from django.db.models import Model, QuerySet
from django.db.models.fields.json import KT
from django.utils import timezone

from database.errors import statement_took_too_long
from desk.display import printable
from messaging.conf import config
from messaging.envelope import PUBLISHED_AT
from messaging.models import (
    DeadLetter,
    FailedAttempt,
    FailureGroup,
    InboxMessage,
    OperatorAction,
    OutboxMessage,
    ReplayedMessage,
)
from timeline import waiting
from timeline.event import SERVICES, Event, Severity, Waiting, letter_page, outbox_page, replay_page

MOST = 100
"""How many rows of each table are shown, the newest."""
OUTBOX_MS = 1000
_SAME_REQUEST = 1000
"""How many rows with the correlation id are searched for this order's: one request may have brought 1000 orders."""
_LONGEST_ERROR = 1000
_SAME_FAILURE = timedelta(minutes=1)
_BY_REQUEST = "its correlation id alone: it may be about another order of the same request"


@dataclass(slots=True)
class Found:
    """What was found, and what the order waits for here."""

    events: list[Event] = field(default_factory=list)
    waits_for: Waiting | None = None
    notes: list[str] = field(default_factory=list)


def collect(
    *,
    subject: str,
    correlation_id: str,
    sender: str,
    message_ids: Collection[UUID] = (),
    is_handled: bool,
    may_wait_in_outbox: bool,
    not_before: datetime | None = None,
) -> Found:
    """All that is known of the order's messages in this service, unsorted.

    `subject` is the order's id, `sender` the service that its messages come from, `message_ids` those that are known
    to be about it. With `is_handled` the order no longer waits for what has failed. What is in the outbox is dated
    `not_before` at the earliest. Tables that cannot be searched in time become notes.
    """
    found = Found()
    rows = _query(found, subject, correlation_id, message_ids)
    found.events += _events(rows, subject, sender)
    if may_wait_in_outbox:
        correlation_ids = {correlation_id, *(letter.correlation_id for letter in rows.letters)}
        _search_outbox(found, subject, correlation_ids, not_before)
    if not is_handled and found.waits_for is None:
        letters = [letter for letter in rows.letters if letter.message_id not in rows.handled]
        tries = [attempt for attempt in rows.tries if attempt.message_id not in rows.handled]
        found.waits_for = waiting.after_failure(letters, tries, rows.replayed, rows.actions)
    return found


@dataclass(frozen=True, slots=True)
class _Rows:
    """What the tables have of an order, newest first."""

    attempts: Sequence[FailedAttempt]
    tries: Sequence[FailedAttempt]
    """The attempts to handle a message, without those to publish it."""
    letters: Sequence[DeadLetter]
    actions: Sequence[OperatorAction]
    replayed: Sequence[ReplayedMessage]
    handled: Mapping[UUID, InboxMessage]


def _query(found: Found, subject: str, correlation_id: str, message_ids: Collection[UUID]) -> _Rows:
    attempts = _rows(found, FailedAttempt.objects.all(), subject, correlation_id, by="-at")
    tries = [attempt for attempt in attempts if attempt.step == FailedAttempt.Step.HANDLE]
    letters = _rows(
        found,
        DeadLetter.objects.defer("body", "headers", "traceback").annotate(sent=KT(f"headers__{PUBLISHED_AT}")),
        subject,
        correlation_id,
        by="-last_failed_at",
    )
    actions = _actions(found, subject, [letter.pk for letter in letters if letter.subject != subject])
    replayed = _newest(found, ReplayedMessage.objects.filter(subject=subject).select_related("replay"), by="-id")
    ids = {*message_ids, *(attempt.message_id for attempt in tries), *(letter.message_id for letter in letters)}
    handled = {row.message_id: row for row in InboxMessage.objects.filter(pk__in=ids)}
    return _Rows(attempts, tries, letters, actions, replayed, handled)


def _rows[M: Model](found: Found, rows: QuerySet[M], subject: str, correlation_id: str, *, by: str) -> list[M]:
    """The rows about the subject, and those of its request that name no subject: nothing else could find these."""
    about = _newest(found, rows.filter(subject=subject), by=by)
    if correlation_id:
        same_request = rows.filter(correlation_id=correlation_id).order_by().values("pk")[:_SAME_REQUEST]
        about += _newest(found, rows.filter(subject="", pk__in=same_request), by=by)
    return about


def _newest[M: Model](found: Found, rows: QuerySet[M], *, by: str) -> list[M]:
    newest = list(rows.order_by(by)[: MOST + 1])
    if len(newest) > MOST:
        name = rows.model._meta.verbose_name_plural
        found.notes.append(f"The {SERVICES[_service()]} has more than {MOST} {name} of it; the newest are shown.")
    return newest[:MOST]


def _actions(found: Found, subject: str, letter_ids: Sequence[int]) -> list[OperatorAction]:
    actions = _newest(found, OperatorAction.objects.filter(subject=subject).defer("detail"), by="-at")
    if letter_ids:
        of_letters = OperatorAction.objects.filter(dead_letter_id__in=letter_ids).defer("detail")
        actions += _newest(found, of_letters.exclude(subject=subject), by="-at")
    return actions


def _events(rows: _Rows, subject: str, sender: str) -> Iterable[Event]:
    yield from _attempts(rows.attempts, subject)
    yield from _letters(rows.letters, rows.actions, _given_up(rows.tries), subject)
    # For what a replay has sent, the event of the replay is enough: it also says who asked for it.
    sent = {(row.replay_id, row.dead_letter_id) for row in rows.replayed if row.sent_at}
    yield from _done([action for action in rows.actions if (action.replay_id, action.dead_letter_id) not in sent])
    yield from _replays(rows.replayed)
    yield from _arrivals(rows, sender)


def _attempts(attempts: Sequence[FailedAttempt], subject: str) -> Iterable[Event]:
    fingerprints = {attempt.fingerprint for attempt in attempts if attempt.fingerprint}
    groups = dict(FailureGroup.objects.filter(fingerprint__in=fingerprints).values_list("fingerprint", "pk"))
    for attempt in attempts:
        detail = {
            "error": _error(attempt.error_type, attempt.error_message),
            "place": printable(attempt.place),
            "type": printable(attempt.type),
            "message_id": str(attempt.message_id),
            "try": attempt.attempt,
            **_doubt(attempt.subject, subject),
        }
        group = groups.get(attempt.fingerprint) if attempt.fingerprint else None
        severity: Severity = "warning"
        if attempt.step == FailedAttempt.Step.PUBLISH:
            title, kind = "The broker took it back", "refused"
        elif attempt.retry_in:
            title, kind = f"Try {attempt.attempt} failed, waits {attempt.retry_in}", "tried"
            detail["waits"] = attempt.retry_in
        else:
            title, kind, severity = f"Try {attempt.attempt} failed, given up", "tried", "error"
        yield _event(
            attempt.at, kind, title, severity, detail, link=f"messaging/failuregroup/{group}/change/" if group else ""
        )


def _given_up(tries: Sequence[FailedAttempt]) -> Mapping[UUID, datetime]:
    """For each message that was given up, when its last try failed; the newest if it was given up more than once."""
    return {attempt.message_id: attempt.at for attempt in reversed(tries) if not attempt.retry_in}


def _letters(
    letters: Sequence[DeadLetter],
    actions: Sequence[OperatorAction],
    given_up: Mapping[UUID, datetime],
    subject: str,
) -> Iterable[Event]:
    # The action says who settled a letter; letters from before actions were recorded say it themselves.
    told = {action.dead_letter_id for action in actions}
    for letter in letters:
        waits = letter.status == DeadLetter.Status.WAITING
        # A letter ends its last try, but is dated just before that try was recorded.
        last_try = given_up.get(letter.message_id, letter.last_failed_at)
        is_its_end = abs(last_try - letter.last_failed_at) < _SAME_FAILURE
        yield _event(
            max(last_try, letter.last_failed_at) if is_its_end else letter.last_failed_at,
            "dead_letter",
            f"Became dead letter {letter.pk}" + (", which waits for somebody" if waits else f", {letter.status} since"),
            "error" if waits else "warning",
            {
                "error": _error(letter.error_type, letter.error_message),
                "type": printable(letter.type),
                "message_id": str(letter.message_id),
                "tries": letter.attempts,
                "times_here": letter.occurrences,
                **_doubt(letter.subject, subject),
            },
            link=letter_page(letter.pk),
        )
        if letter.settled_at and letter.pk not in told:
            title = f"Dead letter {letter.pk} {letter.status} by {printable(letter.settled_by)}"
            yield _event(letter.settled_at, "settled", title, link=letter_page(letter.pk))


def _done(actions: Sequence[OperatorAction]) -> Iterable[Event]:
    for action in actions:
        link = ""
        if action.dead_letter_id is not None:
            link = letter_page(action.dead_letter_id)
        elif action.replay_id is not None:
            link = replay_page(action.replay_id)
        detail: dict[str, Any] = {"reason": printable(action.reason)} if action.reason else {}
        detail |= {"dead_letter": action.dead_letter_id} if action.dead_letter_id is not None else {}
        detail |= {"replay": action.replay_id} if action.replay_id is not None else {}
        title = f"{printable(action.action).capitalize()} by {printable(action.by)}"
        yield _event(action.at, "action", title, detail=detail, link=link)


def _replays(replayed: Sequence[ReplayedMessage]) -> Iterable[Event]:
    severities: dict[str, Severity] = {"handled": "good", "failed": "error", "skipped": "warning"}
    for row in replayed:
        by = printable(row.replay.created_by)
        detail = {"asked_for_by": by, "message_id": str(row.message_id), "dead_letter": row.dead_letter_id}
        link = replay_page(row.replay_id)
        if row.sent_at:
            title = f"Sent again by replay {row.replay_id} ({by})"
            why = {"reason": printable(row.replay.reason)}
            yield _event(row.sent_at, "replay", title, detail=detail | why, link=link)
        elif row.outcome == ReplayedMessage.Outcome.WAITING:
            title = f"In replay {row.replay_id}, not sent yet"
            yield _event(row.replay.created_at, "replay", title, detail=detail, link=link)
        if row.settled_at:
            title = f"Replay {row.replay_id}: {row.get_outcome_display().lower()}"
            if row.detail:
                detail = detail | {"why": _cut(row.detail)}
            yield _event(row.settled_at, "replay", title, severities.get(row.outcome, "info"), detail, link=link)


def _arrivals(rows: _Rows, sender: str) -> Iterable[Event]:
    """When each message was sent, as it says itself, and when it was received."""
    first_failures: dict[UUID, datetime] = {}
    failures = [(row.message_id, row.at) for row in rows.tries]
    failures += [(row.message_id, row.first_failed_at) for row in rows.letters]
    for message_id, at in failures:
        first_failures[message_id] = min(at, first_failures.get(message_id, at))
    for row in rows.handled.values():
        if row.published_at:
            yield _published(row, row.published_at, sender, first_failures.get(row.message_id))
        yield _received(row)
    for letter in rows.letters:
        arrival = rows.handled.get(letter.message_id)
        sent = _sent_at(letter)
        if sent and not (arrival and arrival.published_at == sent):
            yield _published(letter, sent, sender, first_failures[letter.message_id])


def _published(row: InboxMessage | DeadLetter, at: datetime, sender: str, first_failed_at: datetime | None) -> Event:
    # After a failure here it was this service's own relay that sent it again.
    is_replay = first_failed_at is not None and first_failed_at < at
    return Event(
        at=at,
        service=_service() if is_replay else sender,
        kind="published",
        title="Published again" if is_replay else f"Published {printable(row.type)}",
        detail={"type": printable(row.type), "message_id": str(row.message_id)},
    )


def _received(row: InboxMessage) -> Event:
    type_ = printable(row.type)
    detail = {"type": type_, "message_id": str(row.message_id)}
    return _event(row.processed_at, "received", f"Received {type_}", detail=detail)


def _sent_at(letter: DeadLetter) -> datetime | None:
    """When a relay last sent it, by its headers; None when these do not say it, or say anything else."""
    sent: object = getattr(letter, "sent", None)
    try:
        return datetime.fromtimestamp(int(str(sent)) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


_SEARCH = """
    SELECT id, message_id, type, exchange, created_at, attempts, available_at, last_error
    FROM messaging_outboxmessage
    WHERE correlation_id = ANY (%s) AND position(%s::bytea IN body) > 0
    ORDER BY id LIMIT 10"""


def _search_outbox(found: Found, subject: str, correlation_ids: Collection[str], not_before: datetime | None) -> None:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(OUTBOX_MS)])
            rows = list(OutboxMessage.objects.raw(_SEARCH, [list(correlation_ids), subject.encode()]))
            cursor.execute("SET LOCAL statement_timeout TO DEFAULT")
    except OperationalError as error:
        if not statement_took_too_long(error):
            raise
        found.notes.append(
            f"The {SERVICES[_service()]}'s outbox is too long to be searched for it: it may still wait there."
        )
        return
    for row in rows:
        again = row.exchange != config().exchange
        detail: dict[str, Any] = {"type": printable(row.type), "message_id": str(row.message_id)}
        if row.attempts:
            detail |= {"taken_back": row.attempts, "last_error": _cut(row.last_error)}
            detail |= {"next_try_at": row.available_at.isoformat()}
        found.events.append(
            _event(
                max(row.created_at, not_before or row.created_at),
                "outbox",
                "Waits in the outbox" + (" to be sent again" if again else ""),
                "warning" if row.attempts else "info",
                detail,
                link=outbox_page(row.pk),
            )
        )
    if rows:
        found.waits_for = waiting.in_outbox(rows[0], timezone.now())


def _event(
    at: datetime,
    kind: str,
    title: str,
    severity: Severity = "info",
    detail: dict[str, Any] | None = None,
    *,
    link: str = "",
) -> Event:
    detail = {name: value for name, value in (detail or {}).items() if value not in ("", None)}
    return Event(at=at, service=_service(), kind=kind, title=title, severity=severity, detail=detail, link=link)


def _doubt(found: str, wanted: str) -> dict[str, str]:
    return {} if found == wanted else {"found_by": _BY_REQUEST}


def _error(type_: str, message: str) -> str:
    return _cut(f"{type_}: {message}" if message else type_)


def _cut(text: str) -> str:
    shown = printable(text[: _LONGEST_ERROR + 1])
    return shown if len(shown) <= _LONGEST_ERROR else shown[: _LONGEST_ERROR - 1] + "…"


def _service() -> str:
    return config().service
