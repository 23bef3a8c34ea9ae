"""What the admin of tables with a million rows needs: pages without counting, filters and dates without reading all."""

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
    """Counts up to `cap` rows and no further: whoever looks for one row among more filters or searches."""

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
    """Of an address that asks for what cannot be asked, as a year 99999 or a NUL, Django says so: no server error."""

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
    """unfold's, for today's Django."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return DeskChangeList

    def get_action_choices(
        self,
        request: HttpRequest,
        default_choices: Any = None,
        action_location: ActionLocation = ActionLocation.CHANGE_LIST,
    ) -> list[tuple[str, str]]:
        # Past unfold's own, which does not know of locations, and which Django therefore warns about.
        blank = default_choices or [("", "Select action")]
        choices: list[tuple[str, str]] = super(ModelAdmin, self).get_action_choices(request, blank, action_location)
        return choices


class ReadOnlyAdmin(DeskAdmin):
    """Rows are looked at, and changed by nothing but the actions a subclass adds.

    Django does not tell what shows a row who looks at it: the row does, as `seen_by`, a request.
    """

    change_list_template = "admin/desk/change_list.html"
    paginator = CappedPaginator
    list_per_page = 50
    list_max_show_all = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_title: ClassVar[str]
    """Heading of the list."""
    empty_list: ClassVar[str]
    """What it means when there is no row at all."""
    not_listed: ClassVar[tuple[str, ...]] = ()
    """Fields too large to fetch for the list."""
    newest_first: ClassVar[tuple[str, ...]]
    """An ordering with an index."""
    found_by: tuple[str, ...] = ()
    """Indexed fields by whose exact value the search of the sidebar finds a row."""

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
        """Those of the rows that are searched for with this term, by an index. Only for who has `search_fields`."""
        raise NotImplementedError

    def row_of_page(self, request: HttpRequest, object_id: str) -> Any:
        """The row that a page of its own is about. Raises PermissionDenied and Http404."""
        row = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        if row is None:
            raise Http404
        return row


class RecentValuesFilter(admin.SimpleListFilter):
    """Offers the values that `parameter_name` has in the newest rows. Reading all rows for it would take seconds."""

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
    """Rows whose date drill-down reads no more than a few of them, given an index on the date.

    Django's own `datetimes` truncates the date of every row to see which periods there are; with a million rows that
    takes seconds on each visit.
    """

    def datetimes(self, field_name: str, kind: str, order: str = "ASC", tzinfo: tzinfo | None = None) -> Any:
        """The periods (`year`, `month` or `day`) that have rows, ascending, in UTC. One index probe for each."""
        bounds = self.aggregate(first=Min(field_name), last=Max(field_name))
        if bounds["first"] is None:
            return []
        probes = []
        start = _start(bounds["first"], kind)
        while start <= bounds["last"]:
            end = _start(start + _LONGEST[kind], kind)
            inside = self.filter(**{f"{field_name}__gte": start, f"{field_name}__lt": end})
            # Ordered, so that the planner takes the index and does not go through the table for a first row.
            probes.append(inside.order_by(field_name).values_list(field_name, flat=True)[:1])
            start = end
        found = probes[0].union(*probes[1:], all=True).order_by() if len(probes) > 1 else probes[0]
        return sorted(_start(moment, kind) for moment in found)


def _start(moment: datetime, kind: str) -> datetime:
    moment = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if kind == "year":
        return moment.replace(month=1, day=1)
    return moment.replace(day=1) if kind == "month" else moment
