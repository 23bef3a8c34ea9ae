"""Brings one service's database up to date, in the service's folder: `python -m dev.prepare`.

Also makes the user admin with the password admin, in a database where nobody could log in to the admin otherwise.
"""

import django


def main() -> None:
    django.setup()
    from django.contrib.auth import get_user_model
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    users = get_user_model().objects
    if not users.filter(is_superuser=True).exists():
        users.create_superuser(username="admin", password="admin")


if __name__ == "__main__":
    main()
