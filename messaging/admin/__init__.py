"""What operators see of messaging, and what they can do."""

from messaging.admin import dead_letters, replays, transport

__all__ = ["dead_letters", "replays", "transport"]
