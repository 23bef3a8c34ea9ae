"""Django's middleware for people: sessions, logins, messages. Programs, which send no cookies, skip it.

It has nothing to do for them, and doing nothing takes as long as all of REST framework does.
"""

from collections.abc import Callable
from typing import cast

from django.conf import settings
from django.contrib.auth import middleware as auth
from django.contrib.messages import middleware as messages
from django.contrib.sessions import middleware as sessions
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin


class _ForPeople(MiddlewareMixin):
    """Passes on untouched the requests that are for the API (API_RESOURCES), have no cookie and want no page."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        super().__init__(get_response)
        self._api = tuple(getattr(settings, "API_RESOURCES", {}).values())

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        meta = request.META
        if (
            "HTTP_COOKIE" not in meta
            and "html" not in meta.get("HTTP_ACCEPT", "")
            and request.path_info.startswith(self._api)
        ):
            return cast(HttpResponseBase, self.get_response(request))
        return cast(HttpResponseBase, super().__call__(request))


class SessionMiddleware(_ForPeople, sessions.SessionMiddleware):
    pass


class AuthenticationMiddleware(_ForPeople, auth.AuthenticationMiddleware):
    pass


class MessageMiddleware(_ForPeople, messages.MessageMiddleware):
    pass
