"""What both services tell gunicorn."""

import gc
from typing import Any

from gunicorn.glogging import Logger as GunicornLogger  # type: ignore[import-untyped]


class Logger(GunicornLogger):
    """For gunicorn's `logger_class`, without an access log: the middleware has a line for every request already.

    Given a `logconfig_dict`, gunicorn builds access lines whatever else is set.
    """

    @property
    def access_log_enabled(self) -> bool:
        return False


def load_all(worker: Any = None) -> None:
    """gunicorn's `post_worker_init`: loads now what the first request would load, and exempts it from collection.

    Looking through all of it for garbage, again and again, was a tenth of the time of a request.
    """
    from django.urls import get_resolver

    get_resolver().url_patterns  # noqa: B018 - imports all views
    gc.collect()
    gc.freeze()
