"""Links to what the admin has, for who may see it: for others a link would only lead to a refusal."""

from typing import Any

from django.apps import apps
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst


def may_view(request: HttpRequest, model: str) -> bool:
    """Whether this person may see rows of the model, `app.model`, in the admin. Not when the admin has none of it."""
    model_admin = admin.site._registry.get(apps.get_model(model))
    return model_admin is not None and model_admin.has_view_permission(request)


def page_of(request: HttpRequest, model: str, pk: Any) -> str:
    """The address of a row's page in the admin; empty for who may not see it."""
    return reverse(f"admin:{model.replace('.', '_')}_change", args=[pk]) if may_view(request, model) else ""


def row_link(request: HttpRequest, model: str, pk: Any, text: str = "") -> SafeString | str:
    """The text, such as `Dead letter 5`, as a link to the row's page; the text alone for who may not see that."""
    text = text or f"{capfirst(apps.get_model(model)._meta.verbose_name)} {pk}"
    url = page_of(request, model, pk)
    return format_html('<a class="desk-link" href="{}">{}</a>', url, text) if url else text
