"""A service as small as can be, for the tests that start a real gunicorn."""

import os

from observability.logs import logging_config

DEBUG = False
SECRET_KEY = "only-for-tests-" + "0" * 50
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "observability.tests.urls"
INSTALLED_APPS = ["observability"]
MIDDLEWARE = ["observability.middleware.CorrelationMiddleware"]
STATIC_URL = "/static/"
USE_TZ = True
LOGGING = logging_config(service="things", level="INFO", log_format="json")
HEALTH_CHECKS = {"fine": "observability.tests.checks.fine"}
READINESS_CHECKS = ["fine"]
WAITING_READY = "serving.tests.waiting.ready"
WAITING_MAX_CLIENTS = int(os.environ.get("WAITING_MAX_CLIENTS", "1000"))
