from django.apps import AppConfig


class MessagingAppConfig(AppConfig):
    name = "messaging"

    def ready(self) -> None:
        import messaging.checks  # noqa: F401  (registers them)
