"""What the pages say about the service they belong to."""

from dataclasses import dataclass

from django.conf import settings
from django.urls import NoReverseMatch, reverse


@dataclass(frozen=True, slots=True)
class Link:
    """A door of this service."""

    name: str
    url: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """Name and description from SERVICE_NAME and SERVICE_DESCRIPTION, and links to all its doors.

    The description may be Markdown, for the schema; here its backticks are left out.

    `resources` come from API_RESOURCES, `{"Orders": "/orders"}`; `links` are those every service has.
    """

    name: str
    description: str
    resources: list[Link]
    links: list[Link]


_DOORS = [
    ("Docs", "docs", "try the API in the browser (Swagger UI)"),
    ("ReDoc", "redoc", "read about the API"),
    ("Schema", "schema", "the API as OpenAPI 3.1"),
    ("Admin", "admin:index", "what operators see and do"),
    ("Health", "health", "what works and what does not"),
    ("Metrics", "metrics", "for Prometheus"),
]


def service() -> Service:
    """This service. Doors that its URLs do not have are left out."""
    links = []
    for name, view, description in _DOORS:
        try:
            links.append(Link(name, reverse(view), description))
        except NoReverseMatch:
            continue
    resources: dict[str, str] = getattr(settings, "API_RESOURCES", {})
    return Service(
        name=getattr(settings, "SERVICE_NAME", "Service"),
        description=getattr(settings, "SERVICE_DESCRIPTION", "").replace("`", ""),
        resources=[Link(name, url) for name, url in resources.items()],
        links=links,
    )
