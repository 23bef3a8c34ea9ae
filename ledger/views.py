"""The book over HTTP: /ledger. It only reads."""

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from httpapi.problems import error, invalid
from httpapi.query import parse_query
from ledger import openapi
from ledger.book import book
from ledger.serializers import LedgerParameters, as_json
from messaging.conf import config
from messaging.depth import messages_on_the_broker


class LedgerView(APIView):
    """What this service knows of every order, for the other service to compare."""

    def get_view_name(self) -> str:
        return "Ledger"

    @openapi.read_ledger
    def get(self, request: Request) -> Response:
        wanted = parse_query(LedgerParameters, request)
        try:
            page = book().page(after=wanted.get("after"), limit=wanted["limit"])
        except ValueError:
            raise invalid([error("?after", "This is no place in the book; take it from `next`.")]) from None
        following = page.next and replace_query_param(request.build_absolute_uri(), "after", page.next)
        return Response(
            {
                "service": book().service,
                "next": following,
                "queued": None if following else messages_on_the_broker(config()),
                "results": [as_json(entry) for entry in page.entries],
            }
        )
