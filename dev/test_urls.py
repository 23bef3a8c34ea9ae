"""The URLs that the shared packages bring into a service."""

from django.contrib import admin
from django.urls import include, path

admin.autodiscover()  # SimpleAdminConfig leaves that to us

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("observability.urls")),
    path("", include("httpapi.urls")),
    path("", include("ledger.urls")),
]
