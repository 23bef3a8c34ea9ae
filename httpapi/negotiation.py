"""Which renderer answers, without parsing headers that leave no choice."""

from collections.abc import Iterable

from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from httpapi.problems import PROBLEM_JSON

PLAIN_ACCEPT = frozenset({"", "*/*", "application/json", PROBLEM_JSON})


class ContentNegotiation(DefaultContentNegotiation):
    """As REST framework does it, but fast for programs: `*/*`, `application/json` and no header at all get JSON.

    `application/problem+json` on its own also asks for JSON: that is the type of our errors.
    """

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        first = next(iter(renderers))
        # With ?format= the renderer is looked for among all of them.
        if first.format == "json" and not format_suffix and not request.query_params.get("format"):
            accept = request.META.get("HTTP_ACCEPT", "")
            if accept in PLAIN_ACCEPT:
                return first, first.media_type
        chosen: tuple[BaseRenderer, str] = super().select_renderer(request, renderers, format_suffix)
        return chosen
