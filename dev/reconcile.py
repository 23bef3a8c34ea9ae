"""Do the books of both services balance? `python -m dev.reconcile [options]` (`make reconcile ARGS=…`).

Runs `manage.py reconcile` in both services, one after the other, in the environment of `make run`, which must be up.
The options are passed on to that command. Ends with the worse of the two codes.
"""

import subprocess
import sys
from pathlib import Path

from dev.console import say
from dev.environment import BIN, SERVICES
from dev.processes import is_taken
from dev.system import StartError, System


def main(arguments: list[str]) -> None:
    try:
        system = System()
    except StartError as error:
        sys.exit(str(error))
    away = [system.url(service) for service in SERVICES if not is_taken(system.ports[service.port_variable])]
    if away:
        print(f"`make run` is not up: nobody is at {' and '.join(away)}.", file=sys.stderr)
        sys.exit(2)
    codes = []
    for service in SERVICES:
        if "--json" not in arguments:
            say(f"── {service.name} service")
        command: list[str | Path] = [BIN / "python", "manage.py", "reconcile", *arguments]
        code = subprocess.run(command, cwd=service.folder, env=system.environment(service), check=False).returncode
        codes.append(code if code >= 0 else 128 - code)  # as shells report a command that a signal has ended
        if "--json" not in arguments:
            say()
    # What the first left for the second to mend is mended by now, and the second has compared both books again.
    sys.exit(codes[-1] if "--repair" in arguments and codes[0] == 1 else max(codes))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit("interrupted")
