"""The faults, one module for each group. Importing this package registers them all in `torture.fault.FAULTS`."""

import pkgutil
from importlib import import_module

for _module in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
