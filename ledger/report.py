"""What `reconcile` says: to people as tables and sentences, to machines as one JSON object."""

import json
from collections.abc import Iterator
from typing import TextIO

from ledger.book import Book, Wrong, moment
from ledger.comparison import PLACES, Finding
from ledger.reconciliation import DOUBLE, MISSING, Result
from messaging.display import table

_PLACES = {
    "outbox": "announced by the order service, not yet published",
    "broker": "on the way to the processor",
    "dead_letter": "the processor could not handle it; see its dead letters",
    "result_outbox": "decided, the result not yet published",
    "result_broker": "decided, the result on the way back",
    "result_dead_letter": "decided, but the order service could not take the result; see its dead letters",
    "final": "completed or failed, in both services",
}
_SERVICES = {"orders": "order service", "processor": "processor service"}
_WRONG = {
    Wrong.CREATED: "pending, and its order.created is nowhere",
    Wrong.PROCESSED: "decided, still pending, and its order.processed is nowhere",
    Wrong.ORDER: "the processor has decided it, the order service does not have it",
    Wrong.ITEMS: "the order does not have as many items as were processed",
    Wrong.RECORD: "final, and the processor has no record of it",
    Wrong.CONTRADICTION: "the order and the processor's record say different outcomes",
}


def as_json(result: Result, book: Book, *, limit: int, repaired: int) -> Iterator[str]:
    """One JSON object, in pieces: its lists may be longer than memory."""
    head = {
        "balanced": result.balanced,
        "service": book.service,
        "counted": result.counted,
        "places": result.places,
        "queued": result.queued,
        "missing_count": result.orders(*MISSING),
        "double_count": result.orders(*DOUBLE),
        "stuck_count": result.stuck_count,
        "repaired": repaired,
    }
    yield json.dumps(head)[:-1]
    for name, list_of in (("missing", result.missing), ("double", result.double), ("stuck", result.stuck)):
        yield f', "{name}": ['
        for number, finding in enumerate(list_of(limit=limit)):
            yield (", " if number else "") + json.dumps(_finding(finding))
        yield "]"
    yield "}\n"


def write_text(out: TextIO, result: Result, book: Book, *, older_than: str, limit: int, repaired: int) -> None:
    """What is where, what is wrong, and what to do about it."""
    if repaired:
        out.write(f"{_orders(repaired)} mended.\n\n")
    rows = [
        (place, f"{result.places[place]:,}", f"{result.stuck_in(place):,}" if place != "final" else "", _PLACES[place])
        for place in PLACES
    ]
    for line in table(("PLACE", "ORDERS", "STUCK", ""), rows):
        out.write(line + "\n")
    for kind in (*MISSING, *DOUBLE):
        if number := result.orders(kind):
            out.write(f"\n{kind.upper()}: {_orders(number)}: {_WRONG[kind]}.\n")
            out.write(f"  {_remedy(kind, book)}\n")
    if result.orders(*MISSING, *DOUBLE):
        out.write("\n")
        _write_list(out, result.missing(limit=limit), result.orders(*MISSING), limit)
        _write_list(out, result.double(limit=limit), result.orders(*DOUBLE), limit)
    if result.stuck_count:
        out.write(f"\nSTUCK: {_orders(result.stuck_count)} in one place for longer than {older_than}.\n")
        out.write("  docs/operations.md, Orders stay pending, says what to look at.\n\n")
        _write_list(out, result.stuck(limit=limit), result.stuck_count, limit)
    out.write("\n" + _verdict(result) + "\n")


def _verdict(result: Result) -> str:
    counted = f"{_orders(result.counted)} counted"
    if result.balanced:
        return f"The books balance: {counted}, each in one place."
    wrong = [
        f"{number:,} {name}"
        for name, number in (("missing", result.orders(*MISSING)), ("double", result.orders(*DOUBLE)))
        if number
    ]
    if result.unknown:
        wrong.append(f"{result.unknown:,} that may be on the broker, which could not be asked")
    return f"The books do not balance: {counted}, {', '.join(wrong)}."


def _remedy(kind: Wrong, book: Book) -> str:
    if kind in DOUBLE:
        return "A person has to decide which is right: look at the order and its record in the two admins."
    where = "here" if book.mends(kind) else f"in the {_SERVICES[book.peer]}"
    return f"To mend it, {where}: python manage.py reconcile --repair"


def _write_list(out: TextIO, findings: Iterator[Finding], number: int, limit: int) -> None:
    for finding in findings:
        out.write(f"  {finding.order_id}  since {finding.since:%Y-%m-%d %H:%M:%S}  {finding.what}\n")
    if limit and number > limit:
        out.write(f"  and {number - limit:,} more: --limit 0 lists all\n")


def _finding(finding: Finding) -> dict[str, str]:
    return {"order_id": str(finding.order_id), "what": finding.what, "since": moment(finding.since)}


def _orders(number: int) -> str:
    return f"{number:,} order{'' if number == 1 else 's'}"
