"""gunicorn without an access log: the middleware has a line for every request already."""

from gunicorn.glogging import Logger as GunicornLogger  # type: ignore[import-untyped]


class Logger(GunicornLogger):
    """For gunicorn's `logger_class`: given a `logconfig_dict`, gunicorn builds access lines whatever else is set."""

    @property
    def access_log_enabled(self) -> bool:
        return False
