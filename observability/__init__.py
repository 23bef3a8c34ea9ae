"""What both services tell about themselves: logs, correlation ids, health, metrics, the release."""
