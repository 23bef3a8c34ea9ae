"""Questions to the HTTP API of RabbitMQ's management plugin. AMQP can declare, but not tell what is there."""

import base64
import http.client
import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from messaging.errors import BrokerUnavailableError, ConfigurationError

_TIMEOUT = 10.0
_SETTING = "RABBITMQ_MANAGEMENT_URL"


class ManagementApi:
    """What is in one virtual host.

    Every question raises BrokerUnavailableError when nobody answers within 10 seconds, and ConfigurationError when
    the API refuses the credentials or the virtual host is not there. Neither shows the credentials.
    """

    def __init__(self, url: str, *, virtual_host: str) -> None:
        """`url` carries the credentials: http://user:password@host:15672. ConfigurationError when it is no such URL."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:  # it may quote what it takes for the port: the beginning of a password with a slash
            raise ConfigurationError(f"{_SETTING} is no URL; percent-encode what is special in it") from None
        if parts.scheme not in ("http", "https") or not host:
            raise ConfigurationError(f"{_SETTING} must look like http://user:password@host:15672")
        self._where = f"{f'[{host}]' if ':' in host else host}{f':{port}' if port else ''}"
        self._url = f"{parts.scheme}://{self._where}{parts.path.rstrip('/').removesuffix('/api')}/api"
        credentials = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        self._authorization = "Basic " + base64.b64encode(credentials.encode()).decode()
        self._virtual_host = virtual_host

    def exchanges(self) -> dict[str, dict[str, Any]]:
        """By name: `type`, `durable`, `auto_delete`, `internal`, `arguments`, `policy`."""
        return {exchange["name"]: exchange for exchange in self._list("exchanges")}

    def queues(self) -> dict[str, dict[str, Any]]:
        """By name: `durable`, `arguments`, `policy`, `effective_policy_definition`, `messages` (when known)."""
        return {queue["name"]: queue for queue in self._list("queues")}

    def policies(self) -> dict[str, dict[str, Any]]:
        """The definitions, by name. Operator policies are not among them."""
        return {policy["name"]: policy["definition"] for policy in self._list("policies")}

    def bindings(self) -> list[dict[str, Any]]:
        """Each with `source`, `destination`, `destination_type`, `routing_key`."""
        return self._list("bindings")

    def _list(self, kind: str) -> list[dict[str, Any]]:
        request = urllib.request.Request(
            f"{self._url}/{kind}/{quote(self._virtual_host, safe='')}", headers={"Authorization": self._authorization}
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in (401, 403):
                raise ConfigurationError(f"RabbitMQ's management API refuses the credentials of {_SETTING}") from None
            if error.code == 404:
                text = f"RabbitMQ's management API at {self._where} knows no virtual host {self._virtual_host!r}"
                raise ConfigurationError(text) from None
            raise self._unavailable(f"it answers {error.code}") from None
        except (OSError, http.client.HTTPException) as error:
            raise self._unavailable(getattr(error, "reason", None) or repr(error)) from None
        except ValueError:
            raise self._unavailable("it answers with no JSON") from None
        if not isinstance(found, list):
            raise self._unavailable(f"it answers with no list of {kind}")
        return found

    def _unavailable(self, reason: object) -> BrokerUnavailableError:
        return BrokerUnavailableError(f"RabbitMQ's management API cannot be reached at {self._where}: {reason}")
