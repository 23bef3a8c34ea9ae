"""What the admins of both services need beyond Django's: date drill-down by index, and people in unfold's look."""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import ActionLocation
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import Max, Min, QuerySet
from django.http import HttpRequest
from rest_framework.authtoken.admin import TokenAdmin
from rest_framework.authtoken.models import TokenProxy
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

_LONGEST = {"year": timedelta(days=366), "month": timedelta(days=31), "day": timedelta(days=1)}


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


class _PeopleAdmin(ModelAdmin):
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

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        # Two lists beside each other do not fit on a phone, and say little to a screen reader.
        kwargs.setdefault("widget", UnfoldAdminCheckboxSelectMultipleWidget())
        return super().formfield_for_manytomany(db_field, request, **kwargs)


# They are registered by the modules that are imported above.
admin.site.unregister([User, Group, TokenProxy])


@admin.register(User)
class OperatorAdmin(UserAdmin, _PeopleAdmin):  # type: ignore[type-arg]  # not generic when it runs
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    filter_horizontal = ()
    # The application notes them; nobody makes them up.
    readonly_fields = ("last_login", "date_joined")


@admin.register(Group)
class OperatorGroupAdmin(GroupAdmin, _PeopleAdmin):
    filter_horizontal = ()


@admin.register(TokenProxy)
class OperatorTokenAdmin(TokenAdmin, _PeopleAdmin):
    pass
