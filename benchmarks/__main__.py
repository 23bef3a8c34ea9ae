"""Measures the system on servers of its own: `python -m benchmarks`. Everything stays on 127.0.0.1."""

import argparse
import http.client
import json
import os
import platform
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from benchmarks import cpu
from benchmarks.load import Answer, post_all
from dev.environment import ORDER, PROCESSOR
from dev.processes import raise_on_termination
from dev.servers import PostgreSQL, RabbitMQ
from dev.servers.rabbitmq import manage
from tests.system import FINAL, Places, System

WARM_UP = 500
ALONE = 100
WITHIN = 600.0
"""Seconds after which a run is given up."""


class BenchmarkError(Exception):
    """The system did not do what it promises; no figure is worth anything then."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--orders", type=int, default=10_000, help="how many (10000)")
    parser.add_argument("--connections", type=int, default=32, help="keep-alive connections that post them (32)")
    arguments = parser.parse_args()
    if not (1 <= arguments.connections <= arguments.orders <= 1_000_000 and arguments.connections <= 1000):
        parser.error("1 to 1000 connections, and at least as many orders, up to 1000000")
    raise_on_termination()
    try:
        with _running() as system:
            _measure(system, orders=arguments.orders, connections=arguments.connections)
    except (BenchmarkError, AssertionError, ConnectionError, TimeoutError) as error:
        sys.exit(f"failed: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")


@contextmanager
def _running() -> Iterator[System]:
    """All six processes on a fresh PostgreSQL and a fresh RabbitMQ, which are gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="order-processing-"))
    folder.chmod(0o755)  # the servers' user has to get to its folders in it
    postgresql, rabbitmq = PostgreSQL(folder / "postgresql"), RabbitMQ(folder / "rabbitmq")
    system: System | None = None
    try:
        for server in (postgresql, rabbitmq):
            server.launch()
        for server in (postgresql, rabbitmq):
            server.wait()
        places = Places(
            order_database=postgresql.create_database(ORDER.name),
            processor_database=postgresql.create_database(PROCESSOR.name),
            rabbitmq=rabbitmq.url,
            management=rabbitmq.management_url,
        )
        system = System(places, folder)
        system.migrate()
        system.start()
        yield system
    finally:
        if system is not None:
            system.close()
        rabbitmq.stop()
        postgresql.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _measure(system: System, *, orders: int, connections: int) -> None:
    port = urlsplit(system.url("order-web")).port
    assert port is not None
    _post(port, WARM_UP, connections=min(connections, WARM_UP))
    _wait_until_final(system)
    accepted_after, final_after = _alone(port)

    before, busy_before, own_before = cpu.seconds_by_role(), cpu.busy_seconds(), time.process_time()
    started = time.perf_counter()
    answers = _post(port, orders, connections=connections)
    accepted = time.perf_counter() - started
    _wait_until_final(system)
    final = time.perf_counter() - started
    after, busy, own = cpu.seconds_by_role(), cpu.busy_seconds() - busy_before, time.process_time() - own_before

    _verify(system, orders=WARM_UP + ALONE + orders)
    times = [answer.seconds for answer in answers]
    print(f"{orders} orders of 2 items over {connections} connections")
    print(f"  accepted     {orders / accepted:7.0f} orders/s   POST {_percentiles(times)}")
    print(f"  end to end   {orders / final:7.0f} orders/s   all final {final:.1f} s after the first POST")
    print(f"one order at a time, {ALONE} of them")
    print(f"  accepted after  {_percentiles(accepted_after)}")
    print(f"  final after     {_percentiles(final_after)}")
    print("CPU seconds per 1000 orders")
    used = {role: after[role] - before.get(role, 0) for role in sorted(after)} | {"the load itself": own}
    for role, seconds in used.items():
        print(f"  {role:<18} {seconds / orders * 1000:5.2f}")
    others = max(0.0, busy - sum(used.values())) / final / (os.cpu_count() or 1)
    print(f"other processes took {others:.0%} of the machine meanwhile")
    print("verified: every order final, one record each, outboxes and queues empty, no dead letters")
    print(_machine(system))


def _post(port: int, number: int, *, connections: int) -> list[Answer]:
    answers = post_all(port, "/orders", list(_bodies(number)), connections=connections, within=WITHIN)
    if refused := [answer for answer in answers if answer.status != 201]:
        raise BenchmarkError(f"{len(refused)} of {number} orders were refused: {refused[0].body[:300]!r}")
    return answers


def _bodies(number: int) -> Iterator[bytes]:
    numbers = random.Random(number)
    for customer in range(number):
        items = [
            {
                "product_id": f"product-{numbers.randrange(1000)}",
                "quantity": numbers.randrange(1, 6),
                "price": numbers.randrange(100, 10_000) / 100,
            }
            for _ in range(2)
        ]
        yield json.dumps({"customer_id": f"customer-{customer}", "items": items}).encode()


def _wait_until_final(system: System) -> None:
    def none_pending() -> bool:
        return not system.orders.get("/orders", params={"status": "pending", "page_size": 1}).json()["results"]

    system.wait(none_pending, "all orders are final", within=WITHIN)


def _alone(port: int) -> tuple[list[float], list[float]]:
    """Seconds until 201, and until a GET shows a final status, of orders that have the system to themselves."""
    accepted, final = [], []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for body in _bodies(ALONE):
        started = time.perf_counter()
        connection.request("POST", "/orders", body, {"Content-Type": "application/json"})
        order = json.loads(connection.getresponse().read())
        accepted.append(time.perf_counter() - started)
        while order["status"] not in FINAL:
            if time.perf_counter() - started > WITHIN:
                raise TimeoutError(f"order {order['id']} stays {order['status']}")
            time.sleep(0.001)
            connection.request("GET", f"/orders/{order['id']}")
            order = json.loads(connection.getresponse().read())
        final.append(time.perf_counter() - started)
    connection.close()
    return accepted, final


def _verify(system: System, *, orders: int) -> None:
    """Raises BenchmarkError unless every order is final, has one record, and nothing waits anywhere."""
    kept = {order["id"]: order["status"] for order in system.pages(system.orders, "/orders")}
    records = [record["order_id"] for record in system.pages(system.processor, "/records")]
    if len(kept) != orders or not set(kept.values()) <= FINAL:
        raise BenchmarkError(f"{orders} orders were accepted; kept are {len(kept)}, as {set(kept.values())}")
    if len(records) != orders or set(records) != set(kept):
        raise BenchmarkError(f"{orders} orders have {len(records)} records of {len(set(records))} orders")
    system.wait_for_empty_outboxes()
    for service in (ORDER, PROCESSOR):
        if letters := system.dead_letters(service):
            raise BenchmarkError(f"the {service.name} service has dead letters: {letters[:3]}")
        # What a consumer has in hand shows in its queue only once it has left.
        system.stop(f"{service.name}-consume")
    if waiting := system.broker.waiting():
        raise BenchmarkError(f"messages wait in queues: {waiting}")


def _percentiles(seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    p50, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 for share in (0.5, 0.99))
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"


def _machine(system: System) -> str:
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
    with psycopg.connect(system.places.order_database) as connection:
        postgresql = connection.execute("SHOW server_version").fetchone()
    rabbitmq = json.loads(manage(system.places.management, "GET", "/api/overview"))["rabbitmq_version"]
    return (
        f"on {os.cpu_count()} × {model}, Python {platform.python_version()}, "
        f"PostgreSQL {postgresql[0].split()[0] if postgresql else '?'}, RabbitMQ {rabbitmq}"
    )


if __name__ == "__main__":
    main()
