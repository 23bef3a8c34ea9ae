"""Brings one service's database and queues up to date, in the service's folder: `python -m dev.prepare`.

The service's processes would declare the queues too, but they leave new ones unbound for two seconds, for which the
first order would have to wait. If the broker is away, the queues are left to them.

Also makes the user admin with the password admin, if nobody could log in to the admin otherwise.
"""

from contextlib import suppress
from io import StringIO

import django


def main() -> None:
    django.setup()
    from django.contrib.auth import get_user_model
    from django.core.management import CommandError, call_command

    call_command("migrate", verbosity=0)
    with suppress(CommandError):
        call_command("topology", "apply", stdout=StringIO())
    users = get_user_model().objects
    if not users.filter(is_superuser=True).exists():
        users.create_superuser(username="admin", password="admin")


if __name__ == "__main__":
    main()
