"""The service's front page."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from django.views.decorators.vary import vary_on_headers

from httpapi.problems import wants_html
from httpapi.service import service


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
