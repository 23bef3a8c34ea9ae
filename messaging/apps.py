from django.apps import AppConfig


class MessagingAppConfig(AppConfig):
    name = "messaging"

    def ready(self) -> None:
        from messaging import checks  # noqa: F401 - registers them
