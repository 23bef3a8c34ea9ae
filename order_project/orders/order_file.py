"""A file of orders: read as strictly as the API reads them, in chunks that are the same each time it is read."""

import codecs
import csv
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from msgspec import Struct

from httpapi.parsers import max_body_bytes, parse_json
from httpapi.problems import Problem, error
from orders.new_order import MAX_ITEMS_PER_ORDER, MAX_ORDERS_PER_BATCH, Errors, NewOrder, Refused, read_plain
from orders.serializers import check_each

COLUMNS = ("order", "customer_id", "product_id", "quantity", "price")
SUFFIXES = {".ndjson": "ndjson", ".jsonl": "ndjson", ".csv": "csv"}

# A chunk has as many orders as a batch may have, but ends earlier once it reaches this size. Its number is part of its
# key, so where chunks end must depend on the file alone, on no setting.
_MAX_CHUNK_BYTES = 4 * 1024 * 1024
# No more of a line than this is read into memory; what a longer line says is not looked at.
_MAX_LINE_BYTES = 16 * 1024 * 1024

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_ITEM = re.compile(r"/items/([0-9]+)")


class ImportFailed(Exception):
    """The file cannot be imported, or no further. The message is a sentence or two for the operator."""


class Entry(Struct, frozen=True):
    """One order of the file, or a line that is none."""

    order: NewOrder | Refused
    line: int
    """The line where it begins, counted from 1."""
    item_lines: Sequence[int] = ()
    """The line of each item, where items have lines of their own."""

    def problems(self) -> Iterator[dict[str, Any]]:
        """What is wrong with it, each with its line."""
        for wrong in self.order.errors if isinstance(self.order, Refused) else ():
            item = _ITEM.match(wrong["pointer"])
            number = int(item[1]) if item else len(self.item_lines)
            yield {"line": self.item_lines[number] if number < len(self.item_lines) else self.line, **wrong}


@dataclass(frozen=True, slots=True)
class Chunk:
    """As much of the file as is placed in one transaction."""

    number: int
    entries: list[Entry]
    size: int
    """Bytes that it takes up in the file."""


class OrderFile:
    """A file of orders, opened: NDJSON with one body of `POST /orders` a line, or CSV with one item a line.

    A context manager. Raises ImportFailed for anything else.
    """

    def __init__(self, name: str, format: str | None = None) -> None:
        self.name = name
        self.format = format or SUFFIXES.get(Path(name).suffix.lower(), "")
        if not self.format:
            raise ImportFailed(f"{name} has none of the suffixes {', '.join(SUFFIXES)}: use --format.")
        try:
            if not stat.S_ISREG(os.stat(name).st_mode):  # looked at first, since opening a pipe may never end
                raise ImportFailed(f"{name} is no ordinary file.")
            self._file: BinaryIO = open(name, "rb")  # noqa: SIM115 - closed by __exit__
        except OSError as exc:
            raise ImportFailed(f"{name} cannot be read: {exc.strerror}.") from None
        try:
            self._state = self._look()
            self.size = self._state[0]
            self.sha256 = hashlib.file_digest(self._file, "sha256").hexdigest()
            self._check_content()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def is_same(self, path: str) -> bool:
        """Whether this path is the file itself."""
        return os.path.exists(path) and os.path.samestat(os.fstat(self._file.fileno()), os.stat(path))

    def chunks(self) -> Iterator[Chunk]:
        """The whole file, in the same chunks however often it is read. Raises ImportFailed if it changes meanwhile."""
        self._file.seek(0)
        found: list[_Found] = []
        number, begin = 0, 0
        for one in _ndjson(self._file) if self.format == "ndjson" else _csv(self.name, self._file):
            found.append(one)
            if len(found) == MAX_ORDERS_PER_BATCH or one.end - begin >= _MAX_CHUNK_BYTES:
                yield self._chunk(number, found, begin)
                number, begin, found = number + 1, one.end, []
        if found:
            yield self._chunk(number, found, begin)

    def _chunk(self, number: int, found: list["_Found"], begin: int) -> Chunk:
        if self._look() != self._state:
            raise ImportFailed(
                f"{self.name} is being changed while it is imported. As it is now it is another file, of which every "
                "order would be placed."
            )
        checked = iter(check_each(one.sent for one in found if not isinstance(one.sent, NewOrder | Refused)))
        entries = [
            Entry(one.sent if isinstance(one.sent, NewOrder | Refused) else next(checked), one.line, one.item_lines)
            for one in found
        ]
        return Chunk(number, entries, found[-1].end - begin)

    def _look(self) -> tuple[int, int]:
        state = os.fstat(self._file.fileno())
        return state.st_size, state.st_mtime_ns

    def _check_content(self) -> None:
        """Reports a wrong file or format in one sentence, instead of one for each of its lines."""
        self._file.seek(0)
        begin = self._file.read(64 * 1024).removeprefix(codecs.BOM_UTF8)
        if not begin.strip():
            raise ImportFailed(f"{self.name} is empty.")
        if b"\0" in begin:
            raise ImportFailed(f"{self.name} is binary: orders come as text in UTF-8.")
        if self.format == "ndjson":
            if begin.lstrip().startswith(b"["):
                raise ImportFailed(f"{self.name} is one JSON array: NDJSON has one order a line, without commas.")
            if sorted(begin.splitlines()[0].decode(errors="replace").split(",")) == sorted(COLUMNS):
                raise ImportFailed(f"{self.name} is CSV: use --format csv.")


class _Found(Struct, frozen=True):
    """What the file has for an order: unchecked, already checked, or why there is nothing to check."""

    sent: Any
    line: int
    end: int
    item_lines: Sequence[int] = ()


class _Line(Struct, frozen=True):
    number: int
    text: bytes | None
    """None when it is longer than `_MAX_LINE_BYTES`."""
    end: int


def _lines(file: BinaryIO) -> Iterator[_Line]:
    """The lines that are not blank."""
    number, end = 0, 0
    while piece := file.readline(_MAX_LINE_BYTES + 1):
        number += 1
        end += len(piece)
        text: bytes | None = piece.removeprefix(codecs.BOM_UTF8) if number == 1 else piece
        if len(piece) > _MAX_LINE_BYTES:
            text = None
            while not piece.endswith(b"\n") and (piece := file.readline(_MAX_LINE_BYTES)):
                end += len(piece)
        if text is None or text.strip():
            yield _Line(number, text, end)


def _too_long(what: str) -> Errors:
    most = min(max_body_bytes(), _MAX_LINE_BYTES)
    return [error("", f"{what} is larger than the {most} bytes this service takes.")]


def _ndjson(file: BinaryIO) -> Iterator[_Found]:
    for line in _lines(file):
        sent: Any
        if line.text is None or len(line.text) > max_body_bytes():
            sent = Refused(_too_long("The line"), sent=None)
        elif (plain := read_plain(line.text)) is not None:
            sent = plain
        else:
            try:
                sent = parse_json(line.text.rstrip(b" \t\r\n"))
            except Problem as problem:
                detail = str(problem.detail).replace("The body", "The line", 1).replace(" at line 1, ", " at ", 1)
                # A key of the line may bring a NUL into a pointer; PostgreSQL cannot keep one.
                errors = [error(wrong["pointer"].replace("\0", "\\u0000"), wrong["detail"]) for wrong in problem.errors]
                sent = Refused(errors or [error("", detail)], sent=line.text)
        yield _Found(sent, line.number, line.end)


def _csv(name: str, file: BinaryIO) -> Iterator[_Found]:
    """Consecutive rows with the same `order` are one order. Each row is one line.

    An order that may lack a row is refused: those right before and right after a row that cannot be read.
    """
    lines = _lines(file)
    names = _row(next(lines)) or []
    if sorted(names) != sorted(COLUMNS):
        raise ImportFailed(f"{name} is no CSV of orders: its first line must be {','.join(COLUMNS)}.")
    at = {column: names.index(column) for column in COLUMNS}
    group: _Group | None = None
    doubtful = False
    for line in lines:
        row = _row(line)
        if row is None or len(row) <= at["order"]:
            if group:
                group.wrong.append(error("", "The row after it cannot be read; it may be one of this order."))
                yield group.found()
            group, doubtful = None, True
            if line.text is None:
                wrong = _too_long("The row")
            elif row is None:
                wrong = [error("", "The row is no CSV.")]
            else:
                wrong = [error("", f"The row has too few columns, {len(row)}.")]
            yield _Found(Refused(wrong, sent=line.text), line.number, line.end)
            continue
        if group is None or group.order != row[at["order"]]:
            if group:
                yield group.found()
            group = _Group(row[at["order"]], line)
            if doubtful:
                group.wrong.append(error("", "The row before it cannot be read; it may be one of this order."))
            doubtful = False
        group.add(line, row, at)
    if group:
        yield group.found()


class _Group:
    """The rows of one order."""

    def __init__(self, order: str, line: _Line) -> None:
        self.order = order
        self.wrong: Errors = []
        self._customer: str | None = None
        self._items: list[dict[str, Any]] = []
        self._lines: list[int] = []
        self._line = line.number
        self._end = line.end
        self._size = 0
        if not order.strip():
            self.wrong.append(error("", "The column `order` is empty."))

    def add(self, line: _Line, row: list[str], at: dict[str, int]) -> None:
        self._end = line.end
        self._size += len(line.text or b"")
        # Keeps no more rows than it takes to refuse the order: one above the limit.
        if len(self._items) > MAX_ITEMS_PER_ORDER or self._size > max_body_bytes():
            return
        values = dict(zip(at, (row[place] if place < len(row) else "" for place in at.values()), strict=True))
        here = f"/items/{len(self._items)}"
        if len(row) != len(at):
            self.wrong.append(error(here, f"The row has {len(row)} columns, not {len(at)}."))
        elif any("\udc80" <= character <= "\udcff" for text in row for character in text):
            self.wrong.append(error(here, "The row is not UTF-8."))
        elif self._customer is None:
            self._customer = values["customer_id"]
        elif self._customer != values["customer_id"]:
            self.wrong.append(error(here, "The row has another customer than the first of its order."))
        self._lines.append(line.number)
        self._items.append(
            {
                "product_id": values["product_id"],
                "quantity": _number(values["quantity"]),
                "price": _number(values["price"]),
            }
        )

    def found(self) -> _Found:
        sent: Any = {"customer_id": self._customer, "items": self._items}
        if self._size > max_body_bytes():
            sent = Refused(_too_long("The order"), sent=self._size)
        elif self.wrong:
            sent = Refused(self.wrong, sent)
        return _Found(sent, self._line, self._end, self._lines)


def _row(line: _Line) -> list[str] | None:
    """The columns of the line; None when it is no CSV."""
    if line.text is None:
        return None
    try:
        (row,) = csv.reader([line.text.decode(errors="surrogateescape").rstrip("\r\n")], strict=True)
    except (csv.Error, ValueError):
        return None
    return row


def _number(text: str) -> Any:
    """The number that this text is in JSON. Anything else stays text, for the fields to refuse."""
    if not _NUMBER.fullmatch(text.strip(" ")):
        return text
    try:
        return parse_json(text.encode())
    except Problem:
        return text
