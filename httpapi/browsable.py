"""What the browsable API shows: answers as facts and tables, filters as controls, errors with their place.

Nothing here runs for a program that asks for JSON.
"""

import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.urls import reverse
from django.utils.dateparse import parse_datetime
from django.utils.html import escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from rest_framework import serializers
from rest_framework.request import Request

from desk.links import may_view
from httpapi.service import Link

type Cell = Callable[[Any, Mapping[str, Any]], str]
"""Shows a value, given the object that it is in. What is not marked as safe is escaped."""

MAX_SHOWN_ERRORS = 50
MAX_SEARCHED = 200_000
"""Characters that a body may have for the lines of its errors to be looked for."""
MAX_MARKED = 200_000
"""How many characters of a JSON text are marked up: a page of long orders has millions, which would take a minute."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a view tells its page, as `page`. All of it may be left out.

    `verb` says what the form does. `examples` are bodies to choose from, by name; the form begins with the first, which
    works when sent as it is. `headers` are those that the form offers, each with a sentence.

    `filters` is the serializer of the query parameters: its fields become controls above the list.

    `columns` says which fields the table of a list has, by the list's key in the answer; by default all of them.
    `cells` says how a field is shown, by its name. `links` says where people can go on from an answer. `unfinished`
    tells whether an answer will soon change: the page then follows it.
    """

    verb: str = "Send"
    examples: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    filters: type[serializers.Serializer[Any]] | None = None
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    cells: Mapping[str, Cell] = field(default_factory=dict)
    links: Callable[[Mapping[str, Any], Request], list[Link]] = lambda data, request: []
    unfinished: Callable[[Mapping[str, Any]], bool] = lambda data: False


# --- Facts and tables


@dataclass(frozen=True, slots=True)
class Shown:
    """A value as it stands on the page."""

    label: str
    html: str
    number: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A list of objects, a row each."""

    title: str
    columns: list[Shown]
    rows: list[list[Shown]]
    wide: bool
    """Whether it is too wide for a narrow screen, which then shows each row as a card."""


@dataclass(frozen=True, slots=True)
class Part:
    """An object of the answer: its plain values, its lists, and the objects inside it."""

    title: str
    facts: list[Shown]
    tables: list[Table]
    parts: list["Part"]


def part_of(data: Mapping[str, Any], page: Page, *, title: str = "") -> Part:
    """An object of an answer, made readable."""
    part = Part(title, [], [], [])
    for key, value in data.items():
        rows = _rows(value)
        if rows is not None:
            part.tables.append(table_of(key, rows, page))
        elif isinstance(value, Mapping) and value and key not in page.cells:
            part.parts.append(part_of(value, page, title=label(key)))
        else:
            part.facts.append(_shown(key, value, data, page))
    return part


def table_of(key: str, rows: Sequence[Mapping[str, Any]], page: Page) -> Table:
    """A list of objects as a table."""
    names = page.columns.get(key) or list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_shown(name, row.get(name), row, page) for name in names] for row in rows]
    columns = [
        Shown(label(name), "", number=bool(cells) and all(row[at].number for row in cells))
        for at, name in enumerate(names)
    ]
    return Table(label(key), columns, cells, wide=key in page.columns or len(names) > 4)


def _rows(value: Any) -> list[Mapping[str, Any]] | None:
    """The rows of a list of objects, or of an object of objects, whose keys become a column; None for other values."""
    if isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
        return value
    if isinstance(value, Mapping) and value and all(isinstance(row, Mapping) for row in value.values()):
        return [{"name": name, **row} for name, row in value.items()]
    return None


def _shown(name: str, value: Any, of: Mapping[str, Any], page: Page) -> Shown:
    show = page.cells.get(name)
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and show in (None, money)
    return Shown(label(name), show(value, of) if show and value is not None else plain(value), number)


def label(name: str) -> str:
    """`customer_id` for people: Customer ID."""
    words = ["ID" if word == "id" else word for word in name.replace("_", " ").split()]
    return (words[0][:1].upper() + words[0][1:] + "".join(f" {word}" for word in words[1:])) if words else ""


def plain(value: Any) -> str:
    """How a value is shown that has no cell of its own."""
    if value is None or value in ("", [], {}):
        return mark_safe('<span class="quiet">–</span>')
    match value:
        case bool():
            return "yes" if value else "no"
        case UUID():
            return format_html("<code>{}</code>", value)
        case list() if not any(isinstance(one, (list, Mapping)) for one in value):
            return ", ".join(map(str, value))
        case Mapping() if not any(isinstance(one, (list, Mapping)) for one in value.values()):
            return ", ".join(f"{name.replace('_', ' ')} {one}" for name, one in value.items())
        case list() | Mapping():
            return format_html("<code>{}</code>", json.dumps(value, default=str, ensure_ascii=False))
    at = moment(value)
    if at is not None:
        return time(at)
    return format_html("<code>{}</code>", value) if isinstance(value, str) and _ID.fullmatch(value) else str(value)


_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d.*")


def moment(value: Any) -> datetime | None:
    """The value as a time in UTC; None when it is no time."""
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        try:
            value = parse_datetime(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def time(at: datetime) -> SafeString:
    """A time to the second; under the mouse pointer, in full."""
    return format_html('<time datetime="{0}" title="{0}">{1}</time>', at.isoformat(), f"{at:%Y-%m-%d %H:%M:%S}")


def money(value: Any, of: Mapping[str, Any]) -> str:
    """`1,234.50`."""
    return f"{value:,.2f}"


def errors_cell(value: Any, of: Mapping[str, Any]) -> str:
    """The `errors` of something that was refused, each with its place."""
    lines = format_html_join("", "<li><b>{}</b> {}</li>", ((path(one["pointer"]), one["detail"]) for one in value))
    return format_html('<ul class="errors">{}</ul>', lines)


def in_the_admin(request: Request, model: str, pk: Any) -> list[Link]:
    """The link to a row's page in the admin, for those who may see it, and for those who have not logged in yet."""
    if request.user.is_authenticated and not may_view(request, model):
        return []
    url = reverse(f"admin:{model.replace('.', '_')}_change", args=[pk])
    return [Link("In the admin", url, "for operators, with everything around it")]


# --- Where one is in a list


@dataclass(frozen=True, slots=True)
class Reach:
    """From where to where a page of a list reaches, and where its neighbours are."""

    count: int
    first: str
    last: str
    by_time: bool
    newest_first: bool
    next: str | None
    previous: str | None
    start: str


def reach_of(data: Mapping[str, Any], ordering: Sequence[str], request: Request) -> Reach:
    """The reach of a page of CursorPagination, in a list with this ordering."""
    by = ordering[0].removeprefix("-") if ordering else ""
    results = data["results"]
    ends = [moment(results[at].get(by)) for at in (0, -1)] if results and isinstance(results[0], Mapping) else []
    by_time = bool(ends) and None not in ends
    first, last = (time(at) for at in ends if at) if by_time else ("", "")
    query = request.query_params.copy()
    query.pop("cursor", None)
    return Reach(
        count=len(results),
        first=first,
        last=last,
        by_time=by_time,
        newest_first=by_time and ordering[0].startswith("-"),
        next=data.get("next"),
        previous=data.get("previous"),
        start=f"{request.path}?{query.urlencode()}" if query else request.path,
    )


# --- Filters as controls


@dataclass(frozen=True, slots=True)
class Control:
    """A query parameter that one fills in."""

    name: str
    label: str
    kind: str
    """`select`, or the type of an input."""
    value: str
    help: str
    error: str = ""
    choices: list[tuple[str, str]] = field(default_factory=list)
    attributes: str = ""


def controls(
    filters: type[serializers.Serializer[Any]], given: Mapping[str, str], errors: Mapping[str, str]
) -> list[Control]:
    """A control for each field, filled with what was given, with its error if that is wrong."""
    return [
        _control(name, one, given.get(name, ""), errors.get(f"?{name}", "")) for name, one in filters().fields.items()
    ]


def _control(name: str, one: Any, value: str, error: str) -> Control:
    common: dict[str, Any] = {"name": name, "label": label(name), "error": error, "help": str(one.help_text or "")}
    match one:
        case serializers.ChoiceField():
            choices = [(str(key), str(text)) for key, text in one.choices.items()]
            if value and value not in dict(choices):
                choices.append((value, value))
            return Control(**common, kind="select", value=value, choices=[("", "any"), *choices])
        case serializers.DateTimeField():
            at = moment(value)
            common["label"] += " (UTC)"
            # Drops how a program writes a time: people pick it from a calendar.
            common["help"] = re.sub(r" \([^)]*\)", "", common["help"])
            # A value that such a control cannot hold stays text: otherwise it would show as empty, and be lost.
            if value and (at is None or at.microsecond or error):
                return Control(**common, kind="text", value=value)
            shown = f"{at:%Y-%m-%dT%H:%M:%S}" if at else ""
            return Control(**common, kind="datetime-local", value=shown, attributes=mark_safe('step="1"'))
        case serializers.IntegerField():
            limits = [(key, getattr(one, f"{key}_value")) for key in ("min", "max")]
            attributes = format_html_join(" ", '{}="{}"', ((key, most) for key, most in limits if most is not None))
            return Control(**common, kind="number" if value.isdecimal() or not value else "text", value=value,
                           attributes=attributes)  # fmt: skip
        case serializers.CharField(max_length=int() as most):
            return Control(**common, kind="text", value=value, attributes=format_html('maxlength="{}"', most))
    return Control(**common, kind="text", value=value)


# --- What is wrong, and where


@dataclass(frozen=True, slots=True)
class Mistake:
    """One of a problem's errors."""

    pointer: str
    path: str
    detail: str
    line: int | None
    """The line in the body as it was sent, from 1."""
    parameter: str
    """The query parameter it is about, if it is about one."""


def mistakes(errors: Sequence[Mapping[str, str]], sent: str | None) -> list[Mistake]:
    """The errors of a problem, each with its place; `sent` is the body they are about."""
    shown = errors[:MAX_SHOWN_ERRORS]
    pointers = [one["pointer"] for one in shown if not one["pointer"].startswith("?")]
    # A pointer into the body shows that it is JSON and not too deep. Going through anything else could take hours.
    lines = lines_of(sent, pointers) if sent and len(sent) <= MAX_SEARCHED and any(pointers) else {}
    return [
        Mistake(
            pointer=one["pointer"],
            path=path(one["pointer"]),
            detail=one["detail"],
            line=lines.get(one["pointer"]),
            parameter=one["pointer"][1:] if one["pointer"].startswith("?") else "",
        )
        for one in shown
    ]


def path(pointer: str) -> str:
    """A pointer for people: `/items/0/quantity` becomes "items › 1st › quantity"."""
    if not pointer:
        return "the body"
    if pointer.startswith("?"):
        return label(pointer[1:])
    names = (name.replace("~1", "/").replace("~0", "~") for name in pointer[1:].split("/"))
    return " › ".join(_ordinal(int(name) + 1) if name.isdecimal() and len(name) < 7 else name for name in names)


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:\n]|[^\s{}\[\],:"]+')


def lines_of(text: str, pointers: Iterable[str]) -> dict[str, int]:
    """The line, from 1, on which each of these values of a JSON text begins. Useless for other texts."""
    lines: dict[str, int] = {}
    # Does not make a pointer for each value: a long key above many values would be copied for each of them.
    wanted = {tuple(pointer.split("/")[1:]): pointer for pointer in pointers}
    deepest = max(map(len, wanted), default=0)
    line = 1
    # For each open object or list: the key or index of the value that comes next; None where a key comes next.
    inside: list[str | int | None] = []
    for token in _TOKEN.findall(text):
        if token == "\n":
            line += 1
        elif token in ("}", "]"):
            if inside:
                inside.pop()
        elif token == ",":
            if inside:
                at = inside[-1]
                inside[-1] = at + 1 if isinstance(at, int) else None
        elif token == ":":
            continue
        elif inside and inside[-1] is None:
            inside[-1] = token[1:-1].replace("~", "~0").replace("/", "~1")
        else:
            if len(inside) <= deepest and (pointer := wanted.get(tuple(map(str, inside)))) is not None:
                lines[pointer] = line
            if token in ("{", "["):
                inside.append(None if token == "{" else 0)
    return lines


# --- JSON and commands as texts

_JSON = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|(\b(?:true|false|null)\b)|(-?\d[\d.eE+-]*)')


def highlighted(text: str, *, own: str) -> SafeString:
    """A JSON text with its parts marked by class, and with links for the addresses that begin with `own`.

    What comes after MAX_MARKED characters is left as it is.
    """
    return mark_safe("".join(_marked(text, own)))


def _marked(text: str, own: str) -> Iterator[str]:
    done = 0
    for found in _JSON.finditer(text):
        if found.end() > MAX_MARKED:
            break
        yield escape(text[done : found.start()])
        done = found.end()
        string, colon, word, number = found.groups()
        if colon:
            yield format_html('<span class="key">{}</span>{}', string, colon)
        elif string and string.startswith(f'"{own}') and "\\" not in string:
            yield format_html('<a class="string" href="{}">{}</a>', string[1:-1], string)
        else:
            kind = "string" if string else "word" if word else "number"
            yield format_html('<span class="{}">{}</span>', kind, string or word or number)
    yield escape(text[done:])


TOKEN = {"Authorization": "Token YOUR-TOKEN"}
"""What a command needs besides what the page shows. The token itself is not ours to show."""


def curl(url: str, *, headers: Mapping[str, str], body: str | None = None) -> str:
    """The command that does the same as the page."""
    words = ["curl", "-i", shlex.quote(url)]
    words += [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in headers.items()]
    if body is not None:
        words.append(f"-d {shlex.quote(body)}")
    return " \\\n  ".join([" ".join(words[:3]), *words[3:]])
