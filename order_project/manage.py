#!/usr/bin/env python
"""The order service's commands: migrate, runserver, relay, consume, and Django's own."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "order_project.settings")
    execute_from_command_line(sys.argv)
