"""The overview without the page around it, for its script to fetch."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views import View

from dashboard.page import context


class FragmentView(View):
    """Open to whoever may enter the admin; the admin site checks that."""

    http_method_names = ["get", "head"]
    admin_site: Any = None

    def get(self, request: HttpRequest) -> HttpResponse:
        response = TemplateResponse(request, "dashboard/overview.html", context(request))
        # By this the script can tell it from a page that asks for a login.
        response["X-Overview"] = "1"
        return response
