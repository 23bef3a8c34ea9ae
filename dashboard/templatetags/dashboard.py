"""`{% load dashboard %}{% overview %}`: how the pipeline stands, for whoever is logged in to the admin."""

from typing import Any

from django import template
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from dashboard.page import context as overview_context

register = template.Library()


@register.inclusion_tag("dashboard/overview.html", takes_context=True)
def overview(context: Any) -> dict[str, Any]:
    return overview_context(context["request"])


@register.filter
def commands(text: str) -> SafeString:
    """The text, escaped, with what is between backticks as code."""
    parts = escape(text).split("`")
    return mark_safe("".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts)))
