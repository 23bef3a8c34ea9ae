"""The project's folders, its two services, and the environment these get on a developer's machine."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"


@dataclass(frozen=True, slots=True)
class Service:
    name: str
    package: str
    """The package with its settings; also the name of its folder."""
    default_port: int

    @property
    def folder(self) -> Path:
        return ROOT / self.package

    @property
    def port_variable(self) -> str:
        return f"{self.name.upper()}_PORT"

    @property
    def database_variable(self) -> str:
        return f"{self.name.upper()}_DATABASE_URL"


ORDER = Service("order", "order_project", 8000)
PROCESSOR = Service("processor", "processor_project", 8001)
SERVICES = (ORDER, PROCESSOR)

PLAIN_HTTP = {
    "SECURE_SSL_REDIRECT": "false",
    "SECURE_HSTS_SECONDS": "0",
    "SESSION_COOKIE_SECURE": "false",
    "CSRF_COOKIE_SECURE": "false",
}
"""Production's defaults want HTTPS; without it no login would keep its cookie."""

OPEN_API = {"API_AUTH_REQUIRED": "false"}
"""Nobody needs a token to try the API. The admin still asks for a login."""
