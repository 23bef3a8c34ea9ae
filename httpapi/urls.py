from django.urls import path
from drf_spectacular.views import SpectacularRedocView, SpectacularSwaggerView

import httpapi.openapi  # noqa: F401 - teaches the schema our fields
from httpapi.views import SchemaView, health, home

# No OPTIONS: REST framework would describe the view, and a page has no template for that.
PAGE = ["get", "head"]

swagger = SpectacularSwaggerView.as_view(template_name="httpapi/swagger.html", http_method_names=PAGE)
redoc = SpectacularRedocView.as_view(template_name="httpapi/redoc.html", http_method_names=PAGE)

urlpatterns = [
    path("", home, name="home"),
    # Before observability's own, which it calls and which is for programs only.
    path("health", health, name="health"),
    path("schema", SchemaView.as_view(), name="schema"),
    path("docs", swagger, name="docs"),
    path("redoc", redoc, name="redoc"),
]
