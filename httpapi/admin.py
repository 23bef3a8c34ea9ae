"""People, in the admins of both services, in unfold's look."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import PROTECT
from django.http import HttpRequest
from django.utils.text import capfirst
from rest_framework.authtoken.admin import TokenAdmin
from rest_framework.authtoken.models import TokenProxy
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from desk.admin import DeskAdmin


class _PeopleAdmin(DeskAdmin):
    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        # Django's two lists side by side do not fit on a phone, and say little to a screen reader.
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
    # The application records these; nobody may make them up.
    readonly_fields = ("last_login", "date_joined")

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        if keep := _what_keeps(objs):
            return [], {}, set(), keep
        shown, *rest = super().get_deleted_objects(objs, request)
        return _without_keys(shown), *rest


def _what_keeps(users: Any) -> list[str]:
    """The kinds of rows that keep these users from being deleted. Django would fetch every row: a shop's million."""
    return [
        str(capfirst(relation.related_model._meta.verbose_name_plural))
        for relation in User._meta.related_objects
        if relation.on_delete is PROTECT
        and relation.related_model._default_manager.filter(**{f"{relation.field.name}__in": users}).exists()
    ]


def _without_keys(shown: list[Any]) -> list[Any]:
    """What is deleted with a user, without token keys: not everybody who may delete users may see tokens."""
    return [
        _without_keys(one) if isinstance(one, list) else "Token" if one.startswith("Token: ") else one for one in shown
    ]


@admin.register(Group)
class OperatorGroupAdmin(GroupAdmin, _PeopleAdmin):
    filter_horizontal = ()


@admin.register(TokenProxy)
class OperatorTokenAdmin(TokenAdmin, _PeopleAdmin):
    pass
