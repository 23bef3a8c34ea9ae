"""`python -m messaging.tests.crashing`: a consumer that is started again whenever it dies, as by an init system.

Its handler ends the process on a message that says `{"kill": true}`. A fork is quicker than a new interpreter.
"""

import os
from collections.abc import Sequence
from typing import Any

import django
from django.core.management import call_command

from messaging.message import Message
from messaging.tests.handlers import recorder


def die_of_poison(messages: Sequence[Message[Any]]) -> None:
    if any(message.payload.get("kill") for message in messages):
        os._exit(9)


def main() -> None:
    django.setup()
    recorder.before = die_of_poison
    status = -1
    while status != 0:
        child = os.fork()
        if child == 0:
            call_command("consume")
            os._exit(0)
        _, status = os.waitpid(child, 0)


if __name__ == "__main__":
    main()
