"""What `reconcile` says: to people as tables and sentences, to machines as one JSON object."""

import json
from collections.abc import Iterator

from desk.display import number_of, table, to_the_second
from httpapi.timestamps import timestamp
from ledger.book import Book, Wrong
from ledger.comparison import PLACES, STUCK, Finding
from ledger.reconciliation import DOUBLE, MISSING, Result

_PLACES = {
    "outbox": "announced by the order service, not yet published",
    "broker": "on the way to the processor",
    "dead_letter": "the processor could not handle it; see its dead letters",
    "result_outbox": "decided, the result not yet published",
    "result_broker": "decided, the result on the way back",
    "result_dead_letter": "decided, but the order service could not take the result; see its dead letters",
    "discarded": "pending, and somebody has discarded its dead letter in the processor",
    "result_discarded": "decided, and somebody has discarded the result in the order service",
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
        "discarded_count": result.discarded_count,
        "repaired": repaired,
    }
    lists = {
        "missing": result.wrong(*MISSING, limit=limit),
        "double": result.wrong(*DOUBLE, limit=limit),
        "stuck": result.stuck(limit=limit),
        "discarded": result.discarded(limit=limit),
    }
    yield json.dumps(head)[:-1]
    for name, findings in lists.items():
        yield f', "{name}": ['
        for number, finding in enumerate(findings):
            yield (", " if number else "") + json.dumps(_as_json(finding))
        yield "]"
    yield "}\n"


def as_text(result: Result, book: Book, *, older_than: str, limit: int, repaired: int | None) -> Iterator[str]:
    """Lines: what is where, what is wrong, and what to do about it. `repaired` is None when no repair was tried."""
    if repaired is not None:
        yield f"Mended {number_of(repaired, 'order')}."
        yield ""
    rows = [
        (
            place,
            f"{result.places[place]:>9,}",
            f"{result.staying(place):>9,}" if place in STUCK else "",
            _PLACES[place],
        )
        for place in PLACES
    ]
    yield from table(("PLACE", "   ORDERS", "    STUCK", ""), rows)
    for kind in (*MISSING, *DOUBLE):
        if number := result.orders(kind):
            yield ""
            yield f"{kind.upper()}  {number_of(number, 'order')}: {_WRONG[kind]}."
            yield from _list(result.wrong(kind, limit=limit), number, limit)
            yield f"  {_remedy(kind, book, tried=repaired is not None)}"
    if number := result.stuck_count:
        yield ""
        yield f"STUCK  {number_of(number, 'order')}: in one place for longer than {older_than}."
        yield from _list(result.stuck(limit=limit), number, limit)
        yield "  What to look at: docs/operations.md, Orders stay pending."
    if number := result.discarded_count:
        yield ""
        yield f"DISCARDED  {number_of(number, 'order')}: somebody has discarded its message, which nothing sends again."
        yield from _list(result.discarded(limit=limit), number, limit)
        yield "  Who did, and why: the order's timeline."
    yield ""
    yield _verdict(result)
    if result.moved:
        yield f"{result.moved:,} of them moved within the last {older_than} and cannot be judged yet: look again later."


def _verdict(result: Result) -> str:
    counted = f"{number_of(result.counted, 'order')} counted"
    if result.balanced:
        return f"The books balance: {counted}, each in one place."
    wrong = {
        "missing": result.orders(*MISSING),
        "double": result.orders(*DOUBLE),
        "perhaps on the broker, which could not be asked": result.unknown,
    }
    said = ", ".join(f"{number:,} {what}" for what, number in wrong.items() if number)
    return f"The books do not balance: {counted}, {said}."


def _remedy(kind: Wrong, book: Book, *, tried: bool) -> str:
    if kind in DOUBLE:
        return "A person has to decide which is right: look at the order and its record in the two admins."
    if not book.mends(kind):
        return f"Mend it in the {_SERVICES[book.peer]}: python manage.py reconcile --repair"
    if not tried:
        return "Mend it: python manage.py reconcile --repair"
    from_file = " From a file it cannot be restored." if kind in book.restore else ""
    return f"It could not be mended; the log says why.{from_file}"


def _list(findings: Iterator[Finding], number: int, limit: int) -> Iterator[str]:
    for finding in findings:
        yield f"  {finding.order_id}  since {to_the_second(finding.since)}  {finding.what}"
    if limit and number > limit:
        yield f"  and {number - limit:,} more; --limit 0 lists all"


def _as_json(finding: Finding) -> dict[str, str]:
    return {"order_id": str(finding.order_id), "what": finding.what, "since": timestamp(finding.since)}
