"""Filters and searches that several lists have."""

from collections.abc import Iterator
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.db.models import Q

from desk.admin import RecentValuesFilter


class WantedFilter(admin.SimpleListFilter):
    """Shows what needs somebody, unless something else is chosen; a search looks at everything."""

    parameter_name: str
    wanted: ClassVar[str]
    """What counts as chosen when nothing is."""

    def value(self) -> str:
        return super().value() or ("all" if self.request.GET.get(SEARCH_VAR) else self.wanted)

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        for value, title in self.lookup_choices:
            yield {
                "selected": self.value() == value,
                "query_string": changelist.get_query_string({self.parameter_name: value}),
                "display": title,
            }


class TypeFilter(RecentValuesFilter):
    title = "type"
    parameter_name = "type"


class ErrorTypeFilter(RecentValuesFilter):
    title = "error type"
    parameter_name = "error_type"


def by_message_id(term: str) -> Q:
    """The rows of this message; none for what is no UUID."""
    try:
        return Q(message_id=UUID(term))
    except ValueError:
        return Q(pk__in=())
