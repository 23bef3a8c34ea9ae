"""A small service that uses all of the HTTP face."""

from typing import Any, NoReturn

from django.contrib import admin
from django.contrib.auth.models import User
from django.db import InternalError, OperationalError, connection
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import include, path
from django.utils.module_loading import import_string
from drf_spectacular.utils import extend_schema
from psycopg.errors import ReadOnlySqlTransaction
from rest_framework import generics, serializers
from rest_framework.exceptions import PermissionDenied, Throttled
from rest_framework.request import Request
from rest_framework.response import Response

from httpapi.browsable import Page
from httpapi.fields import MoneyField, StrictCharField, StrictIntegerField
from httpapi.openapi import problem_responses
from httpapi.pagination import CursorPagination
from httpapi.problems import Problem
from httpapi.query import parse_query
from httpapi.serializers import Serializer
from httpapi.service import Link
from httpapi.settings import rest_framework_settings

REST = rest_framework_settings(auth_required=False)


class View(generics.GenericAPIView[Any]):
    """With the classes that the settings name, whatever those of the session are: they are read at import."""

    renderer_classes = [import_string(name) for name in REST["DEFAULT_RENDERER_CLASSES"]]
    parser_classes = [import_string(name) for name in REST["DEFAULT_PARSER_CLASSES"]]
    authentication_classes = [import_string(name) for name in REST["DEFAULT_AUTHENTICATION_CLASSES"]]
    permission_classes = [import_string(name) for name in REST["DEFAULT_PERMISSION_CLASSES"]]
    content_negotiation_class = import_string(REST["DEFAULT_CONTENT_NEGOTIATION_CLASS"])
    schema = import_string(REST["DEFAULT_SCHEMA_CLASS"])()


class PartSerializer(Serializer):
    name = StrictCharField(max_length=10)
    count = StrictIntegerField(min_value=1)
    price = MoneyField(positive=True)


class ThingSerializer(Serializer):
    owner = StrictCharField()
    parts = PartSerializer(many=True, allow_empty=False, max_length=3)  # type: ignore[call-arg]  # of the list
    discount = MoneyField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["owner"] == "nobody":
            raise serializers.ValidationError("Nobody owns nothing.")
        return attrs


class Things(View):
    serializer_class = ThingSerializer
    page = Page(
        verb="Make a thing",
        examples={
            "A good one": {"owner": "ann", "parts": [{"name": "wheel", "count": 4, "price": 39.95}]},
            "Without an owner": {"parts": []},
        },
        headers={"X-Colour": "Whichever you like."},
        links=lambda data, request: [Link("Elsewhere", "/elsewhere")],
    )

    @extend_schema(responses={200: ThingSerializer, **problem_responses(404)})
    def get(self, request: Request) -> Response:
        return Response({"owner": "ann", "price": 46.0})

    @extend_schema(responses={201: ThingSerializer, **problem_responses(400, 422)})
    def post(self, request: Request) -> Response:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return Response(serializer.data, status=201)


class Echo(View):
    """What the parser makes of a body."""

    def post(self, request: Request) -> Response:
        return Response({"python": repr(request.data), "bytes": len(request.body)})


class UserSerializer(serializers.ModelSerializer[User]):
    class Meta:
        model = User
        fields = ["id", "username"]


class Users(View, generics.ListAPIView[User]):
    queryset = User.objects.all()
    serializer_class = UserSerializer
    pagination_class = CursorPagination
    ordering: str | tuple[str, ...] = "-id"


class UserByDateSerializer(UserSerializer):
    class Meta(UserSerializer.Meta):
        fields = ["id", "username", "date_joined"]


class UsersByDate(Users):
    serializer_class = UserByDateSerializer
    ordering = ("-date_joined", "-id")


class SearchSerializer(serializers.Serializer[Any]):
    colour = serializers.ChoiceField(choices=["red", "blue"], required=False)
    since = serializers.DateTimeField(required=False)
    name = StrictCharField(required=False)


class Search(View):
    page = Page(filters=SearchSerializer)

    def get(self, request: Request) -> Response:
        return Response(parse_query(SearchSerializer, request))


class Failing(View):
    """Ends as its URL says."""

    def get(self, request: Request, how: str) -> NoReturn:
        match how:
            case "teapot":
                raise Problem(418, "Short and stout.", headers={"X-Spout": "1"})
            case "conflict":
                raise Problem(409, "Twice.", type="https://example.com/twice", title="Twice")
            case "404":
                raise Http404("No such thing.")
            case "403":
                raise PermissionDenied("Not yours.")
            case "429":
                raise Throttled(wait=7)
            case "database":
                raise OperationalError("server at 10.0.0.7 closed the connection; password=secret")
            case "standby":
                raise InternalError("cannot execute INSERT in a read-only transaction") from ReadOnlySqlTransaction()
            case _:
                raise RuntimeError("a secret of ours")


class Private(View):
    permission_classes = [
        import_string(name) for name in rest_framework_settings(auth_required=True)["DEFAULT_PERMISSION_CLASSES"]
    ]

    def get(self, request: Request) -> Response:
        return Response({"user": request.user.get_username()})

    post = get


def plain(request: HttpRequest, how: str) -> HttpResponse:
    """The same as `Failing`, without REST framework."""
    match how:
        case "404":
            raise Http404
        case "database":
            connection.cursor()
            return HttpResponse()
        case "standby":
            raise InternalError("cannot execute INSERT in a read-only transaction") from ReadOnlySqlTransaction()
        case _:
            raise RuntimeError("a secret of ours")


urlpatterns = [
    path("things", Things.as_view()),
    path("echo", Echo.as_view()),
    path("users", Users.as_view()),
    path("users-by-date", UsersByDate.as_view()),
    path("search", Search.as_view()),
    path("failing/<str:how>", Failing.as_view()),
    path("private", Private.as_view()),
    path("plain/<str:how>", plain),
    path("admin/", admin.site.urls),
    path("", include("httpapi.urls")),
    path("", include("observability.urls")),
]

handler400 = "httpapi.problems.handler400"
handler403 = "httpapi.problems.handler403"
handler404 = "httpapi.problems.handler404"
handler500 = "httpapi.problems.handler500"
