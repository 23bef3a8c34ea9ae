"""The sidebar of the admin: what this service's operators look at, in the order in which they need it."""

from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.exceptions import NotRegistered
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.urls import reverse
from django.utils.text import capfirst
from unfold.dataclasses import SearchResult

_ICONS = {
    "auth.group": "group",
    "auth.user": "person",
    "authtoken.tokenproxy": "key",
    "messaging.deadletter": "mail_off",
    "messaging.failedattempt": "running_with_errors",
    "messaging.failuregroup": "error",
    "messaging.inboxmessage": "inbox",
    "messaging.operatoraction": "history",
    "messaging.outboxmessage": "outbox",
    "messaging.process": "memory",
    "messaging.replay": "replay",
}
_FOUND_OF_EACH = 5
_GROUPS = {
    "Failures": ["messaging.failuregroup", "messaging.deadletter", "messaging.replay", "messaging.failedattempt"],
    "Messages": ["messaging.outboxmessage", "messaging.inboxmessage", "messaging.process"],
    "People": ["auth.user", "auth.group", "authtoken.tokenproxy", "messaging.operatoraction"],
}


def sidebar(request: HttpRequest, *, pipeline: list[str], elsewhere: dict[str, str]) -> list[dict[str, Any]]:
    """The groups of links for unfold. Leaves out what this service does not have and what this person may not see.

    `pipeline` are the service's own models, `app.model`; `elsewhere` are titles and addresses of other services.
    """
    found: list[dict[str, Any]] = [
        {"title": title, "items": [item for name in names if (item := _item(request, name)) is not None]}
        for title, names in {"Pipeline": pipeline, **_GROUPS}.items()
    ]
    found[0]["items"].insert(0, {"title": "Overview", "icon": "monitoring", "link": reverse("admin:index")})
    found.append(
        {
            "title": "Elsewhere",
            # Never marked as the page that is shown, even if the addresses look alike.
            "items": [
                {"title": title, "icon": icon, "link": url, "active": lambda request: False}
                for title, icon, url in [
                    *((title, "swap_horiz", url) for title, url in elsewhere.items()),
                    ("API and its documentation", "api", reverse("home")),
                ]
            ],
        }
    )
    return [group for group in found if group["items"]]


def _item(request: HttpRequest, name: str) -> dict[str, Any] | None:
    try:
        model = apps.get_model(name)
        model_admin = admin.site.get_model_admin(model)
    except (LookupError, NotRegistered):
        return None
    if not model_admin.has_view_permission(request):
        return None
    opts = model._meta
    return {
        "title": capfirst(opts.verbose_name_plural),
        "icon": _ICONS.get(name, "list_alt"),
        "link": reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist"),
    }


def find_by_id(request: HttpRequest, term: str) -> list[SearchResult]:
    """Rows for the search of the sidebar: those with exactly this id, found by an index, a few of each model.

    A model takes part when its admin names the fields to search in `found_by`.
    """
    found: list[SearchResult] = []
    if "\x00" in term:
        return found
    for model, model_admin in admin.site._registry.items():
        fields = getattr(model_admin, "found_by", ())
        if not fields or not model_admin.has_view_permission(request):
            continue
        opts = model._meta
        for field in fields:
            column: Any = opts.get_field(field)
            try:
                value = column.to_python(term.strip())
            except ValidationError:
                continue
            rows = model._default_manager.filter(**{field: value}).values_list("pk", flat=True)
            found += [
                SearchResult(
                    title=f"{capfirst(opts.verbose_name)} {pk}",
                    description=str(opts.app_config.verbose_name),
                    link=reverse(f"admin:{opts.app_label}_{opts.model_name}_change", args=[pk]),
                    icon=_ICONS.get(opts.label_lower, "list_alt"),
                )
                for pk in rows[:_FOUND_OF_EACH]
            ]
    return list({result.link: result for result in found}.values())
