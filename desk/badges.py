"""Statuses as coloured badges."""

from typing import Literal

from django.utils.html import format_html
from django.utils.safestring import SafeString

type Kind = Literal["good", "waiting", "bad", "quiet"]


def badge(text: str, kind: Kind) -> SafeString:
    """The text, escaped, as a badge. Its colours are in desk.css, and in the style of the API's own pages."""
    return format_html('<span class="desk-badge desk-{}">{}</span>', kind, text)
