"""The service's URLs: the API at the root, without trailing slashes, and the admin."""

from django.contrib import admin
from django.urls import include, path

admin.autodiscover()  # SimpleAdminConfig leaves that to us

urlpatterns = [
    path("", include("processing.urls")),
    path("", include("ledger.urls")),
    path("", include("httpapi.urls")),
    path("", include("observability.urls")),
    path("admin/", admin.site.urls),
]

handler400 = "httpapi.problems.handler400"
handler403 = "httpapi.problems.handler403"
handler404 = "httpapi.problems.handler404"
handler500 = "httpapi.problems.handler500"
