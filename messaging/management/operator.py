"""Who runs a command."""

import getpass


def operator() -> str:
    """The name of the system's user; `manage.py` where it has none, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "manage.py"
