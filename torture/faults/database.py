"""Databases that go away, hang, or have no room."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import psycopg

from dev.environment import ORDER, PROCESSOR, SERVICES, Service
from dev.processes import children
from dev.servers import PostgreSQL
from dev.servers.base import unprivileged_user
from tests.programs import ROLES
from tests.proxy import proxy
from tests.system import new_customer, new_order
from tests.waiting import eventually
from torture.arena import Arena
from torture.fault import fault

AWAY = 6.0
"""Seconds that a server is down."""
LOCKED = 20.0
EXHAUSTED = 10.0
FROZEN = 20.0
LOST_EVERY = 20
LOST = 10
# In the order in which the services' transactions lock them.
TABLES = {
    ORDER: ("messaging_inboxmessage", "orders_order", "messaging_outboxmessage"),
    PROCESSOR: ("messaging_inboxmessage", "processing_processingrecord", "messaging_outboxmessage"),
}
CUTS = 5
OUTBOX = "messaging_outboxmessage"
SMALL = 4 * 1024 * 1024
"""Bytes of a disk that is full soon."""
FULL = 8.0


def restart(service: Service, end: Callable[[PostgreSQL], None], arena: Arena) -> None:
    database = arena.database_of(service)
    end(database)
    arena.hold(AWAY)
    database.start()


def lock(service: Service, arena: Arena) -> None:
    with psycopg.connect(arena.database_of(service).url) as connection:
        eventually(partial(_locked, connection, TABLES[service]), "all tables are locked")
        arena.hold(LOCKED)


def _locked(connection: psycopg.Connection, tables: tuple[str, ...]) -> bool:
    try:
        connection.execute(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE")
    except psycopg.errors.DeadlockDetected:  # somebody locked them in another order, and went on
        connection.rollback()
        return False
    return True


def cut_connections(service: Service, arena: Arena) -> None:
    for _ in range(CUTS):
        arena.load.wait_for_more(arena.random.randrange(5, 30))
        _cut_connections(arena, service)


for _service in SERVICES:
    _of = f"The {_service.name} service's PostgreSQL" if _service is ORDER else "The processor's PostgreSQL"
    fault(f"{_service.name}-database-restarts", f"{_of} is stopped in order, and started again after {AWAY:g} s.")(
        partial(restart, _service, PostgreSQL.stop)
    )
    fault(f"{_service.name}-database-crashes", f"{_of} is killed, and started again after {AWAY:g} s.")(
        partial(restart, _service, PostgreSQL.kill)
    )
    fault(
        f"{_service.name}-tables-are-locked", f"Somebody holds {', '.join(TABLES[_service])} locked for {LOCKED:g} s."
    )(partial(lock, _service))
    fault(
        f"{_service.name}-connections-are-cut",
        f"{_of} throws out everybody who is connected, {CUTS} times.",
        episodes=CUTS,
    )(partial(cut_connections, _service))


@fault(
    "database-connections-are-exhausted",
    f"Both databases are full of somebody else's connections for {EXHAUSTED:g} s, and let nobody else in.",
    episodes=3,  # a process that slips in while they fill up is thrown out again
)
def connections_are_exhausted(arena: Arena) -> None:
    with ExitStack() as stack:
        for service in SERVICES:
            _take_all_connections(arena, service, stack)
        arena.hold(EXHAUSTED)


def _take_all_connections(arena: Arena, service: Service, stack: ExitStack) -> None:
    """Takes every free connection and throws out the others, again and again, until nobody else is connected."""
    ours: list[psycopg.Connection] = []
    connect = partial(psycopg.connect, arena.database_of(service).url, autocommit=True, connect_timeout=10)
    others = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> ALL (%s)"
    while True:
        try:
            while True:
                ours.append(stack.enter_context(connect()))
        except psycopg.OperationalError as error:
            if "too many clients" not in str(error):
                raise
        pids = [connection.info.backend_pid for connection in ours]
        if not ours[0].execute(others, [pids]).fetchall():
            return
        ours[0].execute(f"SELECT pg_terminate_backend(pid) FROM ({others}) AS others", [pids])


def _cut_connections(arena: Arena, service: Service) -> None:
    arena.query(
        service,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
    )


@fault(
    "databases-are-frozen",
    f"Both PostgreSQL stand still for {FROZEN:g} s (SIGSTOP): whoever connects, or has asked, hears nothing.",
)
def databases_are_frozen(arena: Arena) -> None:
    pids: list[int] = []
    try:
        for service in SERVICES:
            server = arena.database_of(service).process
            assert server
            os.kill(server.pid, signal.SIGSTOP)  # stopped first, so that it forks no more
            pids += [server.pid, *children(server.pid)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        arena.hold(FROZEN)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@fault(
    "database-answers-are-lost",
    f"Every {LOST_EVERY}th answer of either PostgreSQL is lost, and the connection with it, a COMMIT's as well as any "
    f"other, until {LOST} of each are.",
    episodes=2 * LOST,
)
def database_answers_are_lost(arena: Arena) -> None:
    with ExitStack() as stack:
        ways = []
        for service in SERVICES:
            database = arena.database_of(service)
            way = stack.enter_context(proxy("127.0.0.1", database.port))
            way.lose_every = LOST_EVERY
            ways.append(way)
            url = database.url.replace(f":{database.port}/", f":{way.port}/")
            for role in ROLES:
                arena.system.restart(f"{service.name}-{role}", DATABASE_URL=url)
        arena.system.wait(lambda: all(way.answers >= LOST * LOST_EVERY for way in ways), "enough answers are lost")


# --- A disk that is full


def cannot_mount() -> str:
    """Why no file system of a given size can be mounted: that takes root, and in a container the right to mount."""
    if os.getuid() != 0:
        return "needs root, to mount a small file system"
    with tempfile.TemporaryDirectory(prefix="order-processing-") as folder:
        try:
            with _mounted(Path(folder)):
                return ""
        except (subprocess.CalledProcessError, FileNotFoundError):
            return "this machine does not let us mount a small file system"


@contextmanager
def _mounted(folder: Path) -> Iterator[None]:
    """Mounts a file system of SMALL bytes on the folder, in which the servers' user may write."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL},mode=0700", "none", folder], check=True)
    try:
        shutil.chown(folder, unprivileged_user() or "root")
        yield
    finally:
        # Lazily, since after Ctrl-C the database may still have files open there.
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def _outbox_on(folder: Path, connection: psycopg.Connection) -> Iterator[None]:
    """Moves the order service's outbox and its indexes into the folder, and moves them back afterwards."""
    indexes = [
        name for (name,) in connection.execute("SELECT indexname FROM pg_indexes WHERE tablename = %s", [OUTBOX])
    ]

    def move(tablespace: str) -> None:
        connection.execute(f"ALTER TABLE {OUTBOX} SET TABLESPACE {tablespace}")
        for index in indexes:
            connection.execute(f"ALTER INDEX {index} SET TABLESPACE {tablespace}")

    connection.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
    move("small")
    try:
        yield
    finally:
        move("pg_default")
        connection.execute("DROP TABLESPACE small")


@fault(
    "the-outbox-has-no-room",
    f"The disk under the order service's outbox is full for {FULL:g} s, and no relay runs that would make room: orders "
    "are refused with 503, and nothing of them is kept.",
    needs=[cannot_mount],
)
def the_outbox_has_no_room(arena: Arena) -> None:
    folder = arena.folder / "small"
    folder.mkdir(exist_ok=True)
    connect = partial(psycopg.connect, arena.order_database.url, autocommit=True)
    with _mounted(folder), connect() as connection, _outbox_on(folder, connection):
        arena.load.wait_for_more(20)
        arena.system.stop("order-relay")
        filler = folder / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"0" * 4096)
        # The room that is left in the table's own pages is used up first.
        refused = [eventually(partial(_refused, arena), "an order is refused")]
        refused += [customer for customer in (_refused(arena) for _ in range(10)) if customer]
        arena.hold(FULL)
        filler.unlink()
        arena.system.start("order-relay")
        arena.load.wait_for_more(20)
        kept = arena.query(ORDER, "SELECT customer_id FROM orders_order WHERE customer_id = ANY (%s)", refused)
        assert not kept, f"orders that were refused with 503 are there all the same: {kept}"


def _refused(arena: Arena) -> str:
    """Posts one order, once. Returns its customer, who has no other order, if it is refused for now; empty if taken."""
    customer = new_customer()
    answer = arena.system.orders.post("/orders", json=new_order(customer_id=customer))
    if answer.status_code == 201:
        return ""
    assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/problem+json"), answer.text
    return customer
