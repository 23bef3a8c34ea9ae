"""Whether this service can talk to its broker, for `/health`."""

from typing import Any

from messaging.amqp import open_blocking
from messaging.conf import config


def broker() -> dict[str, Any]:
    """Opens and closes a connection. Raises BrokerUnavailableError or ConfigurationError with the reason."""
    with open_blocking(config(), name="health", timeout=2):
        return {}
