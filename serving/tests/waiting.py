"""A view that waits for a file, and a server that knows which files are there."""

import os
from collections.abc import Collection, Hashable
from pathlib import Path

from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from serving import waiting

FOLDER = "WAITING_FOLDER"


def ready(keys: Collection[Hashable]) -> set[Hashable]:
    there: set[Hashable] = set(os.listdir(os.environ[FOLDER]))
    if "broken" in there:
        raise ConnectionError("meant to fail")
    return there.intersection(keys)


def is_there(name: str) -> bool:
    return (Path(os.environ[FOLDER]) / name).exists()


def wait(request: HttpRequest, name: str) -> HttpResponse:
    seconds = float(request.GET.get("seconds", "0"))
    if not is_there(name) and seconds and not waiting.came_back(request):
        try:
            response = waiting.wait(request, name, seconds=seconds)
        except waiting.Full:
            return HttpResponse(status=503)
        if response is not None:
            return response
    return JsonResponse({"there": is_there(name), "pid": os.getpid(), "body": request.read().decode()})


def stream(request: HttpRequest, name: str) -> HttpResponseBase:
    def last() -> bytes:
        return b"there" if is_there(name) else b"not there"

    if waiting.came_back(request) and is_there("forbidden"):
        return HttpResponse("a secret", status=403)
    if "HEARTBEAT_BYTES" in os.environ:
        waiting.HEARTBEAT = b"." * int(os.environ["HEARTBEAT_BYTES"])
        waiting.HEARTBEAT_SECONDS = float(os.environ["HEARTBEAT_SECONDS"])
    seconds = float(request.GET["seconds"])
    parts = waiting.stream(request, name, seconds=seconds, first=b"first,", last=last)
    instead = request.GET.get("instead")
    if instead is not None:
        return HttpResponse(instead, headers={"Content-Length": str(len(instead))})
    return StreamingHttpResponse(parts)
