"""Rules of a team that has adopted the processor, named in PROCESSING_STEPS. Each only affects some customers."""

import os
import signal
from typing import Any

from messaging.errors import PermanentError


def refuse(order: Any) -> None:
    """Finds a fault that waiting does not mend."""
    if order.customer_id.startswith("refused-"):
        raise PermanentError(f"Nothing can be delivered to {order.customer_id}")


def crash(order: Any) -> None:
    """Kills its whole process, like a fault in a C library."""
    if order.customer_id.startswith("poison-"):
        os.kill(os.getpid(), signal.SIGKILL)


def reserve(order: Any) -> None:
    """Has a fault that nobody thought of."""
    if order.customer_id.startswith("unlucky-"):
        raise RuntimeError("The stock service answers with nothing")
