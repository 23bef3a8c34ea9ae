"""What operators see of messaging, and what they can do."""

from messaging.admin import actions, attempts, dead_letters, groups, replays, transport

__all__ = ["actions", "attempts", "dead_letters", "groups", "replays", "transport"]
