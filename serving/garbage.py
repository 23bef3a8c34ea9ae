"""Python's garbage collector, told what a long-running process is like."""

import gc

# How many new objects there are before it looks for cycles among them; Python's own number is 700. A request or a batch
# makes more.
_NEW_OBJECTS = 20_000


def spare_what_is_loaded() -> None:
    """To be called once all modules are loaded: they stay, so they are not looked through again and again.

    That took a tenth of the time of a request. Cycles that come later are found as ever, only less often.
    """
    gc.collect()
    gc.freeze()
    # With so little left to look through, every other collection looks through all of it. Otherwise, what was in use
    # during one (a page of orders and their items, which refer to each other) would be kept a hundred times longer than
    # needed: 220 MB instead of 120 for a worker from which eight clients read long pages at once.
    gc.set_threshold(_NEW_OBJECTS, 1, 1)
