"""What gunicorn serves: `gunicorn order_project.wsgi`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "order_project.settings")

django = get_wsgi_application()

from httpapi.fast_path import FastPath  # noqa: E402 - needs Django to be set up

application = FastPath(django, "orders.fast_path.FAST_VIEWS")
