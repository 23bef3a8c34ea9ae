"""The service's front page, and its health for people."""

import json
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from django.views.decorators.vary import vary_on_headers
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request

from desk.badges import Kind, badge
from httpapi import browsable
from httpapi.problems import wants_html
from httpapi.service import service
from observability import views as observability


@csrf_exempt  # only so that a wrong method is told so
@require_safe
@vary_on_headers("Accept")
def home(request: HttpRequest) -> HttpResponse:
    """What this service is and where its doors are: a page for people, the same as JSON for programs."""
    this = service()
    if wants_html(request):
        return render(request, "httpapi/home.html")
    links = {link.name: request.build_absolute_uri(link.url) for link in (*this.resources, *this.links)}
    return JsonResponse({"service": this.name, "description": this.description, "links": links})


class SchemaView(SpectacularAPIView):
    """The OpenAPI document. There is one version of it: `?version=`, which would go into a header, is not looked at."""

    def _get_version_parameter(self, request: Request) -> None:
        return None


@csrf_exempt  # only so that a wrong method is told so
@vary_on_headers("Accept")
def health(request: HttpRequest) -> HttpResponse:
    """Everything this service needs: a page for people, the JSON of `observability` for everybody else."""
    answer = observability.health(request)
    if not wants_html(request) or "checks" not in (body := _json(answer)):
        return answer
    rows = [
        {"check": name, "status": found["status"], "what it says": _words(found)}
        for name, found in body["checks"].items()
    ]
    table = browsable.table_of("checks", rows, _HEALTH)
    context = {"status": body["status"], "table": table}
    page = render(request, "httpapi/health.html", context, status=answer.status_code)
    page.headers["Cache-Control"] = answer.headers["Cache-Control"]
    return page


def _words(found: dict[str, Any]) -> str:
    """What a check says besides its status: its sentence, its figures, its processes."""
    said = []
    for name, value in found.items():
        if name == "status" or value in (None, "", []):
            continue
        if isinstance(value, list) and all(isinstance(one, dict) for one in value):
            said.append("; ".join(_words(one) for one in value))
        else:
            at = browsable.moment(value)
            text = f"{at:%H:%M:%S}" if at else str(value).removesuffix(".")
            said.append(text if name in ("detail", "name") else f"{name.replace('_', ' ')} {text}")
    return ", ".join(said)


def _json(answer: HttpResponse) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(answer.content) if answer.headers["Content-Type"] == "application/json" else {}
    return read


_KINDS: dict[str, Kind] = {"ok": "good", "warning": "waiting", "failed": "bad"}
_HEALTH = browsable.Page(cells={"status": lambda value, of: badge(value, _KINDS.get(value, "quiet"))})
