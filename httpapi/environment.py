"""Reads the environment for the settings of both services.

What is missing or malformed ends the process with one sentence that names the variable.
"""

from collections.abc import Collection
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


def _boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError("it must be true or false")
    return _BOOLEANS[text.lower()]


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("it must be a whole number") from None


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError("it must be a number") from None


def _is_empty(var: str) -> SystemExit:
    return SystemExit(f"{var} is empty: the environment (or .env) must give it, see .env.example.")


_CASTS = {bool: _boolean, int: _integer}

# A server whose host has vanished answers nothing, not even that it is gone. Left to the operating system, a client
# would wait for it for a quarter of an hour, or for two hours if the question had arrived. `tcp_user_timeout` is in
# milliseconds, the others are in seconds.
_GIVE_UP_ON_A_SILENT_SERVER = {
    "connect_timeout": 5,
    "tcp_user_timeout": 20_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}


class Environment(environ.Env):
    """django-environ, strict. A variable that is malformed, or required and missing, raises SystemExit."""

    def get_value(
        self, var: str, cast: Any = None, default: Any = environ.Env.NOTSET, parse_default: bool = False
    ) -> Any:
        cast = _CASTS.get(cast, cast)
        given = self.ENVIRON.get(var, "")
        try:
            # django-environ would take what follows the $ for the name of another variable. A secret may begin with $.
            if given.startswith("$"):
                value = self.parse_value(given, cast)
            else:
                value = super().get_value(var, cast, default, parse_default)
        except ImproperlyConfigured:
            raise SystemExit(f"{var} is not set: the environment (or .env) must give it, see .env.example.") from None
        except ValueError as error:
            raise SystemExit(f"{var} is malformed: {error}.") from None
        if default is self.NOTSET and not value:
            raise _is_empty(var)
        return value

    def choice(self, var: str, choices: Collection[str], *, default: str) -> str:
        """One of `choices`."""
        value: str = self.str(var, default=default)
        if value not in choices:
            raise SystemExit(f"{var} is malformed: it must be one of {', '.join(choices)}.")
        return value

    def list(self, var: str, cast: Any = None, default: Any = environ.Env.NOTSET) -> Any:
        """The items between the commas, without blanks around them and without empty ones."""
        items = [item.strip() for item in super().list(var, cast, default) if item.strip()]
        if default is self.NOTSET and not items:
            raise _is_empty(var)
        return items

    def between(self, var: str, least: int, most: int, *, default: int) -> int:
        """A whole number in these bounds."""
        value: int = self.int(var, default=default)
        if not least <= value <= most:
            raise SystemExit(f"{var} is malformed: it must be from {least} to {most}.")
        return value

    def decimal(self, var: str, *, default: Decimal) -> Decimal:
        """An exact number, such as an amount of money."""
        value: Decimal = self.get_value(var, cast=_decimal, default=default)
        return value

    def postgresql(self, var: str, *, prepare: bool) -> dict[str, Any]:
        """A `DATABASES` entry from a required postgresql:// URL. What the URL says after `?` goes to libpq.

        Without `prepare` no statement is prepared and no cursor kept on the server: behind a connection pooler the next
        transaction may run on another connection.
        """
        url: str = self.str(var)
        try:
            parts = urlsplit(url)
            holds = parts.scheme in ("postgres", "postgresql") and parts.path.strip("/") and parts.port != 0
        except ValueError:
            holds = False
        if not holds:
            raise SystemExit(f"{var} is malformed: it must look like postgresql://user:password@host:5432/name.")
        database: dict[str, Any] = self.db_url_config(url)
        options = {
            **_GIVE_UP_ON_A_SILENT_SERVER,
            # Only statements that ask for it are prepared; Django's own are not.
            "prepare_threshold": 5 if prepare else None,
            **database.get("OPTIONS", {}),
        }
        return database | {
            "ENGINE": "database.backend",
            "OPTIONS": options,
            "DISABLE_SERVER_SIDE_CURSORS": not prepare,
        }

    def amqp(self, var: str) -> str:
        """A required amqp:// or amqps:// URL, or several separated by commas."""
        urls: str = self.str(var)
        for url in urls.split(","):
            try:
                parts = urlsplit(url.strip())
                holds = parts.scheme in ("amqp", "amqps") and parts.hostname and parts.port != 0
            except ValueError:
                holds = False
            if not holds:
                raise SystemExit(f"{var} is malformed: it must look like amqp://user:password@host:5672/vhost.")
        return urls
