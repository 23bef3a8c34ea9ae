"""What went wrong with a message, and what is to be done about it.

A handler that returns has succeeded. One that raises decides by the class what happens next:
`TransientError` (or any exception not named here) sends the message to the next retry rung,
`PermanentError` to the dead letters at once.
"""

from asyncio import CancelledError

FAILURES = (Exception, CancelledError)
"""What a handler may raise without ending the process: asyncio's `CancelledError` is no `Exception`."""


def text_of(error: BaseException) -> str:
    """What the error says, or that its text cannot be had: an error class of somebody else's may fail even at that."""
    try:
        return str(error)
    except Exception:
        return "(its text could not be had)"


class MessagingError(Exception):
    """Root of this app's errors."""


class TransientError(MessagingError):
    """It may work later: the message waits on the next rung of the retry ladder."""


class PermanentError(MessagingError):
    """It will never work as it stands: the message goes to the dead letters at once."""


class InvalidMessageError(PermanentError):
    """The envelope or the body is not valid: unknown type, unknown version, unreadable body."""


class BrokerUnavailableError(MessagingError):
    """The broker cannot be reached, or took too long. Nothing is known to be published; wait and try again."""


class ConfigurationError(MessagingError):
    """This process can never work as configured: it says so in one sentence and ends."""
