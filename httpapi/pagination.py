"""Pages that cost the same however far one reads: by cursor, no offset and no count."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import DataError
from django.db.models import QuerySet
from django.utils.html import format_html
from rest_framework import pagination
from rest_framework.exceptions import NotFound
from rest_framework.request import Request

from httpapi.browsable import Control
from httpapi.problems import Problem, error, invalid
from httpapi.query import asked_by_page

NO_SUCH_PAGE = "This is no cursor of this list; take it from `next` or `previous`."
"""What a 404 of a list says."""


class CursorPagination(pagination.CursorPagination):
    """`{"next", "previous", "results"}`. The view says the order as `ordering`; it should be unique and indexed.

    `?page_size=` from 1 to `max_page_size`. A bad page size is a Problem (422), and so is a bad cursor (404).
    """

    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 500
    page_size_query_description = "How many results on a page."
    cursor_query_description = "Where the page starts: take it from `next` and `previous`."
    ordering = "-id"

    def get_ordering(self, request: Request, queryset: QuerySet[Any], view: Any) -> tuple[str, ...]:
        ordering: str | tuple[str, ...] = getattr(view, "ordering", self.ordering)
        return (ordering,) if isinstance(ordering, str) else tuple(ordering)

    def get_page_size(self, request: Request) -> int:
        given = request.query_params.get(self.page_size_query_param)
        if given is None or (given == "" and asked_by_page(request)):
            return self.page_size
        # Not int(): it also takes "1_0", " 7" and digits of other scripts.
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

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any] | None:
        try:
            return super().paginate_queryset(queryset, request, view)
        except (NotFound, ValidationError, ValueError, TypeError, OverflowError, DataError):
            # The cursor's content goes into the query as it is; what does not fit the column shows only there.
            if self.cursor_query_param in request.query_params:
                raise bad_cursor() from None
            raise

    def decode_cursor(self, request: Request) -> pagination.Cursor | None:
        cursor = super().decode_cursor(request)
        # What is left of text that is no base64: it would be taken for the first page.
        if cursor == (0, False, None):
            raise bad_cursor()
        return cursor

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {
                "next": {
                    **link,
                    "description": "The page after this one, null on the last.",
                    "example": "https://shop.example.com/?cursor=cD0yMDI2LTExLTIy",
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
    """404: this cursor is none that was given out, so there is no such page."""
    return Problem(404, NO_SUCH_PAGE, errors=[error("?cursor", NO_SUCH_PAGE)])
