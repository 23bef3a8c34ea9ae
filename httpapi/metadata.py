"""What OPTIONS says of an endpoint."""

from typing import TYPE_CHECKING, Any

from rest_framework.metadata import SimpleMetadata
from rest_framework.request import Request

if TYPE_CHECKING:
    from rest_framework.views import APIView  # which imports this module


class Metadata(SimpleMetadata):
    """Its name, its description and its media types. What it takes is in the OpenAPI document, and nowhere else."""

    def determine_actions(self, request: Request, view: "APIView") -> dict[str, Any]:
        return {}
