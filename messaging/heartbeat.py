"""The row that each relay and consumer keeps about itself, for `/health` to say whether it lives and makes progress."""

import os
import socket
import time
from contextlib import suppress

from django.db import Error, connection

from messaging.circuit import Circuit

INTERVAL = 5.0
"""Seconds between two writes."""
# So processes that start together see each other after a second, and rest accordingly.
_FIRST_INTERVAL = 1.0

# Seconds. Shorter than Process.ALIVE_WITHIN, which is for people: processes rest longer for each one beside them, and
# should soon stop doing so for one that was killed.
_BESIDE_WITHIN = 3 * INTERVAL

_BEAT = """
    INSERT INTO messaging_process AS kept (name, role, circuit, progressed_at, rate)
    VALUES (%(name)s, %(role)s, %(circuit)s, CASE WHEN %(done)s > 0 THEN now() END, %(rate)s)
    ON CONFLICT (name) DO UPDATE SET
        seen_at = excluded.seen_at,
        circuit = excluded.circuit,
        progressed_at = coalesce(excluded.progressed_at, kept.progressed_at),
        rate = coalesce(excluded.rate, kept.rate)
    RETURNING (
        SELECT count(*) FROM messaging_process
        WHERE role = %(role)s AND name <> %(name)s AND seen_at > now() - %(beside_within)s * interval '1 second'
    )"""

# Deletes its own row too: a container's process often has the name of the one before it.
_BEGIN = "DELETE FROM messaging_process WHERE name = %s OR seen_at < now() - interval '1 hour'"


class Heartbeat:
    """One process's row, which also says whether the process waits because this circuit is open."""

    def __init__(self, role: str, circuit: Circuit) -> None:
        self._role = role
        self._circuit = circuit
        self._name = f"{role} {socket.gethostname()}:{os.getpid()}"
        self._due = 0.0
        self._begun = False
        self._done = 0
        self._busy = 0.0
        self.others = 0
        """How many more processes of this role there were at the last beat."""

    def progress(self, messages: int, seconds: float) -> None:
        """Notes that this many more messages are done, in this many seconds of work."""
        self._done += messages
        self._busy += seconds

    def beat(self) -> None:
        """Writes the row when it is due. To be called all the time, and outside a transaction.

        Raises what the database raises when it is away. A crash leaves a row that grows old.
        """
        now = time.monotonic()
        if now < self._due:
            return
        rate = self._done / self._busy if self._done and self._busy else None
        values: dict[str, str | int | float | None] = {
            "name": self._name,
            "role": self._role,
            "circuit": self._circuit.dependency if self._circuit.is_open else "",
            "done": self._done,
            "rate": rate,
            "beside_within": _BESIDE_WITHIN,
        }
        interval = INTERVAL
        with connection.cursor() as cursor:
            if not self._begun:
                cursor.execute(_BEGIN, [self._name])
                self._begun, interval = True, _FIRST_INTERVAL
            cursor.execute(_BEAT, values)
            self.others = cursor.fetchone()[0]
        self._due, self._done, self._busy = now + interval, 0, 0.0

    def end(self) -> None:
        """Removes the row: the process ends in order. While the database is away the row stays, and grows old."""
        with suppress(Error), connection.cursor() as cursor:
            cursor.execute("DELETE FROM messaging_process WHERE name = %s", [self._name])
