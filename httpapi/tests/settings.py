"""A service as small as can be, for the tests that start a real gunicorn."""

from httpapi.settings import APPS, MIDDLEWARE, rest_framework_settings, spectacular_settings
from observability.logs import logging_config

__all__ = ["MIDDLEWARE"]

DEBUG = False
SECRET_KEY = "only-for-tests-" + "0" * 50
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "httpapi.tests.urls"
INSTALLED_APPS = ["observability", *APPS]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
STATIC_URL = "/static/"
USE_TZ = True
LOGGING = logging_config(service="things", level="INFO", log_format="json")
REST_FRAMEWORK = rest_framework_settings(auth_required=False)
SPECTACULAR_SETTINGS = spectacular_settings("Things", "Keeps things.", "1.2.3")
SERVICE_NAME = "Things"
API_MAX_BODY_BYTES = 1000
