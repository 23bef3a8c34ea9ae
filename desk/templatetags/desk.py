"""`{% load desk %}`: what the pages of the admin have in common."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django import template
from django.db.models import DateTimeField
from django.utils.safestring import SafeString

from desk import links

register = template.Library()


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """The times that a list is limited to, in words."""

    words: str
    clear: str
    """The address of the same list without this limit."""


@register.simple_tag(takes_context=True)
def row_link(context: Any, model: str, pk: Any, text: Any = "") -> SafeString | str:
    """`{% row_link "messaging.replay" 5 %}`: a link to this row, for those who may see it."""
    return links.row_link(context["request"], model, pk, str(text))


@register.simple_tag
def time_window(cl: Any) -> TimeWindow | None:
    """What `<field>__gte` and `<field>__lt` in the list's address say, which no filter shows; None without them."""
    for field in (field.name for field in cl.opts.get_fields() if isinstance(field, DateTimeField)):
        names = {"from": f"{field}__gte", "to": f"{field}__lt"}
        said = [f"{word} {_moment(cl.params[name])}" for word, name in names.items() if name in cl.params]
        if said:
            return TimeWindow(f"{' '.join(said)} UTC", cl.get_query_string(remove=list(names.values())))
    return None


def _moment(given: str) -> str:
    try:
        at = datetime.fromisoformat(given)
        return f"{at.astimezone(UTC) if at.tzinfo else at:%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError):
        return given
