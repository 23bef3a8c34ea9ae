from django.urls import path
from drf_spectacular.views import SpectacularAPIView, SpectacularRedocView, SpectacularSwaggerView

import httpapi.openapi  # noqa: F401 - teaches the schema our fields
from httpapi.views import home

urlpatterns = [
    path("", home, name="home"),
    path("schema", SpectacularAPIView.as_view(), name="schema"),
    path("docs", SpectacularSwaggerView.as_view(), name="docs"),
    path("redoc", SpectacularRedocView.as_view(template_name="httpapi/redoc.html"), name="redoc"),
]
