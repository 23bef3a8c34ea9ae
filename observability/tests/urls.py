"""Views that do what the tests watch."""

import os

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.urls import include, path

from observability.context import current_correlation_id, current_traceparent
from serving.tests import waiting


def ids(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"correlation_id": current_correlation_id(), "traceparent": current_traceparent()})


def pid(request: HttpRequest, name: str) -> JsonResponse:
    return JsonResponse({"pid": os.getpid()})


def fail(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("meant to\nfail")


def missing(request: HttpRequest) -> HttpResponse:
    raise Http404


def body(request: HttpRequest) -> HttpResponse:
    try:
        return HttpResponse(len(request.body))
    except UnreadablePostError:
        return HttpResponse("The body could not be read to its end.", status=400)


def large(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b"x" * 20_000_000)


urlpatterns = [
    path("large", large),
    path("bodies", body),
    path("ids", ids),
    path("pids/<str:name>", pid),
    path("fail", fail),
    path("missing", missing),
    path("wait/<str:name>", waiting.wait),
    path("stream/<str:name>", waiting.stream),
    path("", include("observability.urls")),
]
