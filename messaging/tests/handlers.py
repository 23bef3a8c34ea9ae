"""The handler table of the test project. What its one handler does is up to the test."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from messaging.message import Handler, Message


class Recorder:
    """Remembers which messages took effect; `before` may raise to make them fail."""

    def __init__(self) -> None:
        self.before: Callable[[Sequence[Message[Any]]], None] = lambda messages: None
        self.batches: list[list[Message[Any]]] = []

    def reset(self) -> None:
        self.__init__()  # type: ignore[misc]

    @property
    def numbers(self) -> list[int]:
        """The numbers of the messages that took effect."""
        return [message.payload["number"] for batch in self.batches for message in batch]

    def __call__(self, messages: Sequence[Message[Any]]) -> None:
        self.before(messages)
        self.batches.append(list(messages))


def decode(body: bytes) -> dict[str, Any]:
    payload = json.loads(body)
    if not isinstance(payload, dict):
        raise ValueError("not an object")
    return payload


recorder = Recorder()
HANDLERS = {"thing.happened": Handler(decode=decode, handle=recorder, subject="thing")}
