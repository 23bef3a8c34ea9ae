"""Links into the admin for those who may see what is there: others would only be refused."""

from typing import Any

from django.apps import apps
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst


def may_view(request: HttpRequest, model: str) -> bool:
    """Whether this person may see rows of the model, `app.model`, in the admin. False if it is not there."""
    model_admin = admin.site._registry.get(apps.get_model(model))
    return model_admin is not None and model_admin.has_view_permission(request)


def page_of(request: HttpRequest, model: str, pk: Any) -> str:
    """The address of a row's page in the admin; empty for those who may not see it."""
    return reverse(f"admin:{model.replace('.', '_')}_change", args=[pk]) if may_view(request, model) else ""


def row_link(request: HttpRequest, model: str, pk: Any, text: str = "") -> SafeString | str:
    """The text, such as `Dead letter 5`, as a link to the row's page; only the text for those who may not see it."""
    text = text or f"{capfirst(apps.get_model(model)._meta.verbose_name)} {pk}"
    url = page_of(request, model, pk)
    return format_html('<a class="desk-link" href="{}">{}</a>', url, text) if url else text
