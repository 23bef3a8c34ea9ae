"""What OPTIONS says of an endpoint."""

from typing import TYPE_CHECKING, Any

from rest_framework.metadata import SimpleMetadata
from rest_framework.request import Request

if TYPE_CHECKING:
    from rest_framework.views import APIView  # rest_framework.views imports this module


class Metadata(SimpleMetadata):
    """The endpoint's name, description and media types. What it takes is only in the OpenAPI document."""

    def determine_actions(self, request: Request, view: "APIView") -> dict[str, Any]:
        return {}
