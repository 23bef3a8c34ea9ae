"""What the admin of tables with a million rows needs: pages without counting, filters without reading everything."""

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.options import ActionLocation, IncorrectLookupParameters
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin

from messaging.display import printable, readable_body, readable_size


class CappedPaginator(Paginator):  # type: ignore[type-arg]  # not generic when it runs
    """Counts up to `cap` rows and no further: whoever looks for one row among more filters or searches."""

    cap = 10_000
    template_name = "admin/messaging/pages.html"

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


class LightChangeList(ChangeList):
    """Does not fetch what the list does not show: bodies can be megabytes. No filter with a NUL reaches PostgreSQL."""

    model_admin: "ReadOnlyAdmin"

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        if any("\x00" in value for name, given in request.GET.lists() if name != SEARCH_VAR for value in given):
            raise IncorrectLookupParameters
        queryset = super().get_queryset(request, exclude_parameters)
        return queryset.defer(*self.model_admin.not_listed)


class ReadOnlyAdmin(ModelAdmin):
    """Rows are looked at, and changed by nothing but the actions a subclass adds."""

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

    def get_urls(self) -> list[URLPattern]:
        urls: list[URLPattern] = super().get_urls()
        if "body" not in self.not_listed:
            return urls
        view = self.admin_site.admin_view(self.body_view)
        return [path("<path:object_id>/body/", view, name=f"messaging_{self.opts.model_name}_body"), *urls]

    def body_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The body byte for byte, as a file to save; never anything a browser would run."""
        row: Any = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        if row is None:
            raise Http404
        return HttpResponse(
            bytes(row.body),
            content_type="application/octet-stream",
            headers={
                "Content-Disposition": f'attachment; filename="{row.message_id}.body"',
                "X-Content-Type-Options": "nosniff",
            },
        )

    @admin.display(description="body")
    def shown_body(self, row: Any) -> SafeString:
        body = readable_body(bytes(row.body))
        if body.kind == "empty":
            return format_html('<span class="desk-muted">{}</span>', "no body at all")
        size = readable_size(body.size)
        url = reverse(f"admin:messaging_{self.opts.model_name}_body", args=[row.pk], current_app=self.admin_site.name)
        return format_html(
            '<p class="desk-muted">{} · <a class="desk-link" href="{}">Download</a></p>'
            '<pre class="desk-text" tabindex="0">{}</pre>',
            f"{body.kind}, {size}" + (", the beginning of it" if body.is_cut else ""),
            url,
            body.text,
        )

    @admin.display(description="headers")
    def shown_headers(self, row: Any) -> SafeString:
        if not row.headers:
            return format_html('<span class="desk-muted">{}</span>', "none")
        lines = format_html_join(
            "", '<tr><th scope="row">{}</th><td class="desk-mono">{}</td></tr>', header_lines(row.headers)
        )
        return format_html('<table class="desk-table">{}</table>', lines)


def header_lines(headers: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and values of headers as text, in the order of their names."""
    return [(printable(name), printable(str(value))) for name, value in sorted(headers.items())]


def badge(text: str, kind: str) -> SafeString:
    """The text, escaped, as a badge: `good`, `bad`, `waiting` or `quiet`."""
    return format_html('<span class="desk-badge desk-{}">{}</span>', kind, text)


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


class TypeFilter(RecentValuesFilter):
    title = "type"
    parameter_name = "type"
