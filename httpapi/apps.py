from django.apps import AppConfig
from django.core.signals import request_started


class HttpApiConfig(AppConfig):
    name = "httpapi"
    verbose_name = "HTTP API"

    def ready(self) -> None:
        from httpapi import checks  # noqa: F401 - registers them
        from httpapi.content_type import check_content_type

        request_started.connect(check_content_type, dispatch_uid="httpapi.check_content_type")
