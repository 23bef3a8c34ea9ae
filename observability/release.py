"""Which release runs here."""

from importlib.metadata import PackageNotFoundError, version


def installed_release() -> str:
    """The version of the installed project; "" where nothing is installed, as in the images: they are told theirs."""
    try:
        return version("order-processing")
    except PackageNotFoundError:
        return ""
