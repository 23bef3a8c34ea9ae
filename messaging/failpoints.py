"""Named places where a process can be made to die, so that a test can kill it just there.

The environment switches one on: `FAILPOINT=relay.confirmed@3` sends this process SIGKILL when it gets to that place
for the third time. Without it `reach` does nothing. Another app's places begin with its name, like `shop.paid`.
"""

import importlib.util
import os
import signal
import threading
from collections.abc import Callable

NAMES = (
    "publisher.confirming",  # some of a batch are confirmed
    "relay.confirmed",  # all are confirmed, the rows still in the outbox
    "consume.committed",  # the effect is committed, the messages not acknowledged
    "consume.moved",  # failed messages are on their rung or in the dead letters, and not acknowledged
    "consume.kept",  # dead letters are stored and not acknowledged
)


def _nothing(name: str) -> None:
    pass


def _killer(setting: str) -> Callable[[str], None]:
    """Raises ValueError when the setting names neither a place in here nor anything of another app."""
    place, _, text = setting.partition("@")
    left = int(text) if text.isdecimal() else 1
    app, dot, _ = place.partition(".")
    is_place = place in NAMES or (dot and app and importlib.util.find_spec(app) is not None)
    if not is_place or left < 1 or not (text.isdecimal() or setting == place):
        raise ValueError(f"FAILPOINT is {setting!r}, not {', '.join(NAMES)} or an app's, with or without @N")
    lock = threading.Lock()

    def count_down(name: str) -> None:
        nonlocal left
        if name == place:
            with lock:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

    return count_down


_setting = os.environ.get("FAILPOINT")
reach: Callable[[str], None] = _killer(_setting) if _setting else _nothing
"""Called at each of the places, with its name."""
