"""Rules of a team that has adopted the processor, named in PROCESSING_STEPS. Each hits some customers alone."""

import os
import signal
from typing import Any

from messaging.errors import PermanentError


def refuse(order: Any) -> None:
    """Finds what no waiting mends."""
    if order.customer_id.startswith("refused-"):
        raise PermanentError(f"Nothing can be delivered to {order.customer_id}")


def crash(order: Any) -> None:
    """Takes its whole process along, as a fault in a C library does."""
    if order.customer_id.startswith("poison-"):
        os.kill(os.getpid(), signal.SIGKILL)


def reserve(order: Any) -> None:
    """Has a fault that nobody thought of."""
    if order.customer_id.startswith("unlucky-"):
        raise RuntimeError("The stock service answers with nothing")
