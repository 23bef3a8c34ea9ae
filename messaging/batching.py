"""How relays and consumers find batches worth their while."""

# A batch costs most of its time once, however many messages it has, and the more processes there are, the smaller are
# the batches. So a process that has found several messages takes a rest, in which more come together: of so many times
# what the batch took, which is long where the machine is full, but of no more than so long for each message (seconds),
# which is short where it is quiet and nobody shall wait. A single message is followed by none.
_TIMES = 5.0
_FOR_EACH = 0.005
_LONGEST = 0.1


def rest_after(messages: int, seconds: float) -> float:
    """How long (seconds) to let messages come together after a batch of so many, which was not full, took so long."""
    return min(_TIMES * seconds, _FOR_EACH * messages, _LONGEST) if messages > 1 else 0.0
