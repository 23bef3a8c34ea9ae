"""Where the CPU time of one `POST /orders` goes: `python -m benchmarks.anatomy`, on a PostgreSQL of its own.

With `--flame` it draws that into docs/post-order.svg, from samples of the stack that cost the process nothing.

The order service's WSGI application is called in this process, without gunicorn and without a network. The profiler
itself takes time too, more of it where functions are small: read the shares, not the microseconds.
"""

import cProfile
import io
import json
import os
import pstats
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import drawing_tools
from dev.environment import OPEN_API, ORDER, PLAIN_HTTP, ROOT
from dev.processes import leaving_nothing_behind, raise_on_termination
from dev.servers import PostgreSQL, temporary_folder

ORDERS = 1000
ROUNDS = 5
FLAME = ROOT / "docs" / "post-order.svg"
BODY = json.dumps(
    {
        "customer_id": "customer-1",
        "items": [{"product_id": f"product-{number}", "quantity": 2, "price": 18.5} for number in range(2)],
    }
).encode()

_SETTINGS = {
    "DJANGO_SETTINGS_MODULE": f"{ORDER.package}.settings",
    "RABBITMQ_URL": "amqp://nobody:nothing@127.0.0.1:1/",  # a POST does not need it
    "SECRET_KEY": "only-for-benchmarks-" + "0" * 50,
    "DEBUG": "false",
    "ALLOWED_HOSTS": "localhost",
    "LOG_FORMAT": "json",
    "LOG_LEVEL": "INFO",
    **PLAIN_HTTP,
    **OPEN_API,
}
_WAITING = ("execute_prepared", "_run", "execute_alone", "wait")
"""Functions of `database.statements` and psycopg that wait while PostgreSQL works."""
_LIBRARY = re.compile(r"site-packages/([^/]+)(?:/([^/.]+))?")
_PARTS = {
    "django/db": "psycopg and Django's database layer",
    "psycopg": "psycopg and Django's database layer",
    "database": "psycopg and Django's database layer",
    "rest_framework": "REST framework",
    "django": "Django's request, response, middleware and URLs",
    "logging": "log lines and metrics",
    "pythonjsonlogger": "log lines and metrics",
    "prometheus_client": "log lines and metrics",
    "observability": "log lines and metrics",
    "orders": "this project's own code",
    "messaging": "this project's own code",
    "httpapi": "this project's own code",
    "serving": "this project's own code",
    "contracts": "this project's own code",
}


def main() -> None:
    if sys.argv[1:] not in ([], ["--flame"]):
        sys.exit("usage: python -m benchmarks.anatomy [--flame]")
    if sys.argv[1:] and (problem := drawing_tools.install()):
        sys.exit(f"no flame graph was drawn: {problem}")
    raise_on_termination()
    with leaving_nothing_behind(), temporary_folder() as folder:
        server = PostgreSQL(folder / "postgresql")
        server.launch()
        server.wait()
        try:
            measure(server.url, draw=bool(sys.argv[1:]))
        finally:
            server.stop()


def measure(database_url: str, *, draw: bool = False) -> None:
    """Prints the CPU time of a POST and the share of each part of the stack in it. Or draws it."""
    os.environ |= _SETTINGS | {"DATABASE_URL": database_url}
    subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ORDER.folder, check=True)
    sys.path.insert(0, str(ORDER.folder))
    answers, sys.stderr = sys.stdout, Path(os.devnull).open("w")  # noqa: SIM115 - where the log lines go
    from importlib import import_module

    from serving.gunicorn import load_all

    application = import_module(f"{ORDER.package}.wsgi").application
    load_all()
    post_orders(application, ORDERS // 2)
    if draw:
        flame(lambda: post_orders(application, 10))
        print(f"{FLAME.relative_to(ROOT)} is drawn", file=answers)
        return
    seconds = []
    for _ in range(ROUNDS):
        started = time.process_time()
        post_orders(application, ORDERS)
        seconds.append(time.process_time() - started)
    print(f"{min(seconds) / ORDERS * 1e6:.0f} us of CPU for a POST, without gunicorn", file=answers)
    with cProfile.Profile() as profile:
        post_orders(application, ORDERS)
    calls, shares = by_part(profile)
    print(f"{calls / ORDERS:.0f} function calls, of whose time this share is spent in", file=answers)
    for part, share in shares.most_common():
        print(f"  {share:4.0%}  {part}", file=answers)


def flame(work: Callable[[], None]) -> None:
    """Repeats the work while py-spy samples this process, 500 times a second, until that is done."""
    command = [
        str(drawing_tools.FOLDER / "bin" / "py-spy"), "record", "--pid", str(os.getpid()), "--gil", "--rate", "500",
        "--duration", "20", "--format", "flamegraph", "--output", str(FLAME),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as spy:
        while spy.poll() is None:
            work()
        if spy.returncode:
            assert spy.stderr is not None
            sys.exit(f"no flame graph was drawn: {spy.stderr.read().strip()[-1000:]}")
    # Replaces the title: py-spy writes its command line there, with paths of this machine.
    title = "One POST /orders: where its CPU time goes, without what waits for PostgreSQL"
    FLAME.write_text(re.sub(r'(id="title"[^>]*>)[^<]*', rf"\1{title}", FLAME.read_text()))


def post_orders(application: Callable[..., Any], number: int) -> None:
    """Places this many orders, one after the other."""
    for _ in range(number):
        statuses: list[str] = []
        response = application(
            {
                "REQUEST_METHOD": "POST",
                "PATH_INFO": "/orders",
                "SCRIPT_NAME": "",
                "QUERY_STRING": "",
                "CONTENT_TYPE": "application/json",
                "CONTENT_LENGTH": str(len(BODY)),
                "HTTP_HOST": "localhost",
                "SERVER_NAME": "localhost",
                "SERVER_PORT": "80",
                "SERVER_PROTOCOL": "HTTP/1.1",
                "REMOTE_ADDR": "127.0.0.1",
                "wsgi.url_scheme": "http",
                "wsgi.input": io.BytesIO(BODY),
                "wsgi.errors": sys.stderr,
            },
            lambda status, headers, statuses=statuses: statuses.append(status),
        )
        if hasattr(response, "close"):
            response.close()
        assert statuses == ["201 Created"], statuses


def by_part(profile: cProfile.Profile) -> tuple[int, Counter[str]]:
    """The number of calls, and each part's share of the time that was not spent waiting for PostgreSQL."""
    spent: Counter[str] = Counter()
    calls = 0
    for (file, _, function), (_, count, own, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        calls += count
        if function not in _WAITING:
            spent[_part(file)] += own
    total = sum(spent.values())
    return calls, Counter({part: own / total for part, own in spent.items()})


def _part(file: str) -> str:
    if found := _LIBRARY.search(file):
        names = [f"{found[1]}/{found[2]}", found[1]]
    else:
        names = [Path(parent).name for parent in Path(file).parents]
    return next((_PARTS[name] for name in names if name in _PARTS), "Python's own library and built-in functions")


if __name__ == "__main__":
    main()
