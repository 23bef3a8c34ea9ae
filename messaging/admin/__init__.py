"""What operators see of messaging, and what they can do."""

from messaging.admin import actions, dead_letters, groups, replays, transport

__all__ = ["actions", "dead_letters", "groups", "replays", "transport"]
