"""Pages that cost the same however far one reads: by cursor, with no offset and no count."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from django.core.exceptions import ValidationError
from django.db import DataError
from django.db.models import F, Func, QuerySet, TextField, Value
from django.db.models.lookups import GreaterThan, LessThan
from django.utils.html import format_html
from rest_framework import pagination
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

from httpapi.browsable import Control
from httpapi.problems import Problem, error, invalid
from httpapi.query import asked_by_page

NO_SUCH_PAGE = "This is no cursor of this list; take it from `next` or `previous`."
"""What the 404 for a bad cursor says."""


class _Cursor(NamedTuple):
    """Where a page begins: beyond these values of the ordering's fields; without any, at an end of the list."""

    backwards: bool = False
    beyond: Sequence[str] = ()


class CursorPagination(pagination.CursorPagination):
    """`{"next", "previous", "results"}`. The view names the fields to sort by in `ordering`: they must be unique
    together, all ascending or all descending, and had best be the end of an index.

    `?page_size=` is from 1 to `max_page_size`. A bad page size is a Problem (422), and so is a bad cursor (404).
    REST framework's own class looks at the first field only, and counts the rows that have the same value in it: of a
    thousand orders of one moment it would skip some and return others twice.
    """

    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 500
    page_size_query_description = "How many results on a page."
    cursor_query_description = "Where the page starts: take it from `next` and `previous`."
    ordering = "-id"
    order: tuple[str, ...]
    """The ordering of this list, once a page of it has been read."""

    def get_ordering(self, request: Request, queryset: QuerySet[Any], view: Any) -> tuple[str, ...]:
        ordering: str | tuple[str, ...] = getattr(view, "ordering", self.ordering)
        return (ordering,) if isinstance(ordering, str) else tuple(ordering)

    def get_page_size(self, request: Request) -> int:
        given = request.query_params.get(self.page_size_query_param)
        if given is None or (given == "" and asked_by_page(request)):
            return self.page_size
        # int() alone would also take "1_0", " 7" and digits of other scripts.
        if given.isascii() and given.isdecimal() and len(given) < 10 and 1 <= int(given) <= self.max_page_size:
            return int(given)
        raise invalid([error("?page_size", f"An integer from 1 to {self.max_page_size} is required.")])

    def control(self, given: Mapping[str, str], errors: Mapping[str, str]) -> Control:
        """The page size, for people."""
        value = given.get(self.page_size_query_param, "")
        return Control(
            name=self.page_size_query_param,
            label="On a page",
            kind="number" if value.isdecimal() or not value else "text",
            value=value,
            help=f"1 to {self.max_page_size}.",
            error=errors.get(f"?{self.page_size_query_param}", ""),
            attributes=format_html('min="1" max="{}" placeholder="{}"', self.max_page_size, self.page_size),
        )

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        self.page_size = self.get_page_size(request)
        self._url = request.build_absolute_uri()
        self.order = self.get_ordering(request, queryset, view)
        given = request.query_params.get(self.cursor_query_param)
        cursor = _Cursor() if given is None else _read(given, fields=len(self.order))
        try:
            found = list(self._beyond(cursor, queryset)[: self.page_size + 1])
        except (ValidationError, ValueError, TypeError, OverflowError, DataError):
            # The cursor's values go into the query unchecked: only there does it show when they do not fit the columns.
            if given is None:
                raise
            raise bad_cursor() from None
        further, self._rows = len(found) > self.page_size, found[: self.page_size]
        self.has_next, self.has_previous = further, bool(cursor.beyond)
        if cursor.backwards:
            self._rows.reverse()
            self.has_next, self.has_previous = self.has_previous, self.has_next
        self.display_page_controls = self.has_next or self.has_previous
        return self._rows

    def _beyond(self, cursor: _Cursor, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows that follow the cursor in its direction, the nearest first."""
        descending = self.order[0].startswith("-")
        names = [name.removeprefix("-") for name in self.order]
        down = descending != cursor.backwards
        queryset = queryset.order_by(*(f"-{name}" if down else name for name in names))
        if not cursor.beyond:
            return queryset
        fields = [queryset.model._meta.get_field(name) for name in names]
        values = (Value(value, output_field=field) for value, field in zip(cursor.beyond, fields, strict=True))
        # Compared as rows: one range of the index, however many rows have the same first field.
        compare = LessThan if down else GreaterThan
        return queryset.filter(compare(_Row(*map(F, names)), _Row(*values)))

    def get_next_link(self) -> str | None:
        return self._link(self._rows[-1:], backwards=False) if self.has_next else None

    def get_previous_link(self) -> str | None:
        return self._link(self._rows[:1], backwards=True) if self.has_previous else None

    def _link(self, outermost: Sequence[Any], *, backwards: bool) -> str:
        """A link to what lies beyond the outermost row of this page; if it is empty, to all rows in that direction."""
        beyond = [str(getattr(row, name.removeprefix("-"))) for row in outermost for name in self.order]
        cursor = urlsafe_b64encode(orjson.dumps([backwards, beyond])).decode()
        return replace_query_param(self._url, self.cursor_query_param, cursor)

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {
                "next": {
                    **link,
                    "description": "The page after this one, null on the last.",
                    "example": "https://shop.example.com/?cursor=W2ZhbHNlLFsiMjAyNi0xMS0yMiIsIjAxYTIwMzcwIl1d",
                },
                "previous": {
                    **link,
                    "description": "The page before this one, null on the first.",
                    "example": None,
                },
                "results": schema,
            },
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        cursor, size = super().get_schema_operation_parameters(view)
        size["schema"] = {"type": "integer", "minimum": 1, "maximum": self.max_page_size, "default": self.page_size}
        return [cursor, size]


def bad_cursor() -> Problem:
    """404: this cursor was never given out, so there is no such page."""
    return Problem(404, NO_SUCH_PAGE, errors=[error("?cursor", NO_SUCH_PAGE)])


def _read(given: str, *, fields: int) -> _Cursor:
    try:
        backwards, beyond = orjson.loads(urlsafe_b64decode(given))
    except (ValueError, TypeError):
        raise bad_cursor() from None
    whole = isinstance(beyond, list) and len(beyond) in (0, fields) and all(isinstance(value, str) for value in beyond)
    if not (isinstance(backwards, bool) and whole):
        raise bad_cursor()
    return _Cursor(backwards, beyond)


class _Row(Func):
    """Several fields or values as one, as PostgreSQL compares them: by the first that differs."""

    function = "ROW"
    output_field = TextField()
