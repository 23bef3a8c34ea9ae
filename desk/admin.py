"""An admin for tables with a million rows: pages without counting, filters and dates without reading all rows."""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.options import ActionLocation, IncorrectLookupParameters
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ERROR_FLAG, ChangeList
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import DataError
from django.db.models import Max, Min, Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.functional import cached_property
from unfold.admin import ModelAdmin

from desk.display import printable

_LONGEST = {"year": timedelta(days=366), "month": timedelta(days=31), "day": timedelta(days=1)}


class CappedPaginator(Paginator):  # type: ignore[type-arg]  # not generic when it runs
    """Counts up to `cap` rows and no further: to find a row among more than that, people filter or search."""

    cap = 10_000
    template_name = "admin/desk/pages.html"

    @property
    def counted(self) -> str:
        return f"{self.count:,}"

    @cached_property
    def count(self) -> int:
        return min(self._counted, self.cap)

    @property
    def has_more(self) -> bool:
        return self._counted > self.cap

    @cached_property
    def _counted(self) -> int:
        rows: Any = self.object_list
        counted: int = rows.order_by()[: self.cap + 1].count()
        return counted


class DeskChangeList(ChangeList):
    """For an address that asks the impossible, such as the year 99999 or a NUL, Django says so: no server error."""

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        try:
            super().__init__(request, *args, **kwargs)
        except (DataError, IndexError, OverflowError, ValueError) as error:
            if not set(request.GET) - {ERROR_FLAG}:
                raise  # nothing was asked for
            raise IncorrectLookupParameters from error


class LightChangeList(DeskChangeList):
    """Does not fetch what the list does not show: bodies can be megabytes."""

    model_admin: "ReadOnlyAdmin"

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        queryset = super().get_queryset(request, exclude_parameters)
        return queryset.defer(*self.model_admin.not_listed)

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        for row in self.result_list:
            row.seen_by = request


class DeskAdmin(ModelAdmin):
    """unfold's ModelAdmin, made to work with today's Django."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return DeskChangeList

    def get_action_choices(
        self,
        request: HttpRequest,
        default_choices: Any = None,
        action_location: ActionLocation = ActionLocation.CHANGE_LIST,
    ) -> list[tuple[str, str]]:
        # Skips unfold's own method: it does not know the argument for the location, so Django warns about it.
        blank = default_choices or [("", "Select action")]
        choices: list[tuple[str, str]] = super(ModelAdmin, self).get_action_choices(request, blank, action_location)
        return choices


class ReadOnlyAdmin(DeskAdmin):
    """Rows can be looked at, and changed only by the actions that a subclass adds.

    Django does not tell the methods that show a row who is looking: so the row has the request as `seen_by`.
    """

    change_list_template = "admin/desk/change_list.html"
    paginator = CappedPaginator
    list_per_page = 50
    list_max_show_all = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_title: ClassVar[str]
    """The heading of the list."""
    empty_list: ClassVar[str]
    """What the list says when there is no row at all."""
    not_listed: ClassVar[tuple[str, ...]] = ()
    """Fields that are too large to be fetched for the list."""
    newest_first: ClassVar[tuple[str, ...]]
    """An ordering with an index."""
    found_by: tuple[str, ...] = ()
    """Indexed fields: the search of the sidebar finds a row by the exact value of one of them."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return LightChangeList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {"title": self.list_title, **(extra_context or {})}
        answer: HttpResponse = super().changelist_view(request, context)
        return answer

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        try:
            row: Any = super().get_object(request, object_id, from_field)
        except DataError:  # no row can have such an id
            return None
        if row is not None:
            row.seen_by = request
        return row

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (self.find(queryset, term) if term and self.search_fields else queryset), False

    def find(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        """The rows that this search term means, by an index. A subclass with `search_fields` must have it."""
        raise NotImplementedError

    def row_of_page(self, request: HttpRequest, object_id: str) -> Any:
        """The row for an additional page about it. Raises PermissionDenied and Http404."""
        row = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        if row is None:
            raise Http404
        return row


class RecentValuesFilter(admin.SimpleListFilter):
    """Offers the values of `parameter_name` in the newest rows. To read all rows for that would take seconds."""

    recent = 1000

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        newest = model_admin.model.objects.order_by(*model_admin.newest_first)
        values = set(newest.values_list(self.parameter_name, flat=True)[: self.recent])
        if chosen := self.value():
            values.add(chosen)
        return [(value, printable(value)) for value in sorted(values) if value]

    def has_output(self) -> bool:
        return len(self.lookup_choices) > 1 or self.value() is not None

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value is None:
            return queryset
        return queryset.filter(**{f"{self.parameter_name}__exact": value})


class IndexedDates(QuerySet[Any]):
    """Rows whose date drill-down reads only a few of them, if the date has an index.

    Django's own `datetimes` truncates the date of every row to see which periods there are; with a million rows that
    takes seconds on each visit.
    """

    def datetimes(self, field_name: str, kind: str, order: str = "ASC", tzinfo: tzinfo | None = None) -> Any:
        """The periods (`year`, `month` or `day`) that have rows, ascending, in UTC. Takes one index probe for each."""
        bounds = self.aggregate(first=Min(field_name), last=Max(field_name))
        if bounds["first"] is None:
            return []
        probes = []
        start = _start(bounds["first"], kind)
        while start <= bounds["last"]:
            end = _start(start + _LONGEST[kind], kind)
            inside = self.filter(**{f"{field_name}__gte": start, f"{field_name}__lt": end})
            # Ordered, so that the planner uses the index instead of going through the table for a first row.
            probes.append(inside.order_by(field_name).values_list(field_name, flat=True)[:1])
            start = end
        found = probes[0].union(*probes[1:], all=True).order_by() if len(probes) > 1 else probes[0]
        return sorted(_start(moment, kind) for moment in found)


def _start(moment: datetime, kind: str) -> datetime:
    moment = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if kind == "year":
        return moment.replace(month=1, day=1)
    return moment.replace(day=1) if kind == "month" else moment
