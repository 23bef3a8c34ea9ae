"""Which renderer answers, without parsing headers that leave no choice."""

from collections.abc import Sequence
from typing import Any

from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

_PLAIN = frozenset({"", "*/*", "application/json"})


class ContentNegotiation(DefaultContentNegotiation):
    """As REST framework has it, but quick for programs: `*/*`, `application/json` and no header at all get JSON.

    `application/problem+json` is taken as a wish for JSON too: it is what our errors are.
    """

    def select_renderer(
        self, request: Request, renderers: Sequence[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        accept = request.META.get("HTTP_ACCEPT", "")
        first = renderers[0]
        if accept in _PLAIN and first.format == "json" and not format_suffix and not request.META.get("QUERY_STRING"):
            return first, first.media_type
        try:
            chosen: Any = super().select_renderer(request, renderers, format_suffix)
        except NotAcceptable:
            if "application/problem+json" not in accept:
                raise
            chosen = next(((r, r.media_type) for r in renderers if r.format == "json"), None)
            if chosen is None:
                raise
        return chosen
