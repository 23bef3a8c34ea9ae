"""Python's garbage collector, told what a long-running process is like."""

import gc

# New objects before it looks for cycles among them; Python's own number is 700. A request or a batch makes more.
_NEW_OBJECTS = 20_000


def spare_what_is_loaded() -> None:
    """To be called once all modules are loaded: they stay, so they are not looked through again and again.

    That took a tenth of the time of a request. Cycles that come later are found as ever, only less often.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS)
