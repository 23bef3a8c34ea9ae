"""How relays and consumers find batches worth their while."""

import time

# Most of a batch's time is spent once, however many messages it has, and the more processes there are, the smaller are
# their batches. So a process that has found several messages rests, to let more come together. It rests for a multiple
# of what the batch took, which is long when the machine is full, but no longer than a fixed time (seconds) for each
# message. With others beside it that do the same it rests that many times longer: together they cost no more than one.
_TIMES = 5.0
_FOR_EACH = 0.005
_LONGEST = 0.1
_LONGEST_WITH_OTHERS = 0.2
# When it is quiet nobody should wait: no rest while the batches of all processes together take less than this share of
# one process's last moment (seconds).
_BUSY = 0.25
_MOMENT = 0.5


class Pacer:
    """Decides how long a process lets messages come together after each batch."""

    def __init__(self) -> None:
        self._busy = 0.0
        self._ended = time.monotonic()

    def rest_after(self, messages: int, seconds: float, *, others: int) -> float:
        """How long (seconds) to rest after a batch of `messages` that took `seconds`, with `others` beside us.

        To be asked after every batch, even when the caller takes no rest because the batch was full.
        """
        now = time.monotonic()
        since_then = max(now - self._ended, seconds, 1e-6)
        self._busy += min(1.0, since_then / _MOMENT) * (seconds / since_then - self._busy)
        together = 1 + others
        rest = 0.0
        if messages > 1 and together * self._busy > _BUSY:
            rest = together * min(_TIMES * seconds, _FOR_EACH * messages, _LONGEST)
            rest = min(rest, _LONGEST_WITH_OTHERS)
        self._ended = now + rest
        return rest
