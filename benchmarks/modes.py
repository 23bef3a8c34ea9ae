"""What is measured: one function for each mode, which gives the figures of one run."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from urllib.request import urlopen

from benchmarks import cpu
from benchmarks.fill import add_final_orders, add_pending_orders
from benchmarks.ground import Ground
from benchmarks.load import Answer, OpenLoop, Waiters, get_all, new_orders, poisson, post_all
from benchmarks.stacks import WITHIN, BenchmarkError, Floor, Project, Stack, Stacks
from dev.environment import ORDER, PROCESSOR
from dev.processes import children, peak_bytes
from tests.broker import PROCESSOR_QUEUE

BATCH = 1000
BATCH_CONNECTIONS = 8
GET_CONNECTIONS = 2
SCALE_TIMES = 4
"""How many times as many orders: what is left over at the end of a run must not decide the figures."""
CALM = 2.0
"""Seconds between the warm-up and the measurement, for everything to come to rest."""


@dataclass(frozen=True, slots=True)
class Options:
    """How much of everything is measured. Each count means the same in all modes."""

    orders: int = 5000
    drained: int = 10_000
    connections: int = 32
    rate: float = 50.0
    seconds: float = 20.0
    idle_seconds: float = 30.0
    backlog: int = 200_000
    size: int = 1_000_000
    waiting: int = 500
    warm_up: int = 500


@dataclass(slots=True)
class Run:
    """One run of a mode: its figures, and how the machine was meanwhile."""

    mode: str
    stack: str
    round: int
    title: str
    figures: dict[str, tuple[float, str]] = field(default_factory=dict)
    """The figures by name, each with its unit."""
    probes: list[float] = field(default_factory=list)
    """CPU milliseconds of one fixed piece of Python, before and after each measurement."""
    others: list[float] = field(default_factory=list)
    """The shares of the machine that others took, one for each measurement."""
    skipped: str = ""
    """Why there are no figures; empty if there are."""


class Bench:
    """What a mode works with."""

    def __init__(self, ground: Ground, stacks: Stacks, options: Options, run: Run) -> None:
        self.ground = ground
        self.stacks = stacks
        self.options = options
        self.run = run

    def add(self, name: str, value: float, unit: str) -> None:
        self.run.figures[name] = (value, unit)

    @contextmanager
    def system(self, *, before: Callable[[Stack], None] | None = None, **changes: str) -> Iterator[Stack]:
        """The system of this run: fresh, running, warm and at rest."""
        with self.stacks.fresh(self.run.stack) as stack:
            stack.start(**changes)
            if before:
                before(stack)
            # One order first: once it is final, all queues exist and are bound.
            self.post(stack, 1)
            stack.wait_until_final()
            self.post(stack, self.options.warm_up - 1)
            stack.wait_until_final()
            self.come_to_rest()
            yield stack

    def come_to_rest(self) -> None:
        self.ground.settle()
        time.sleep(CALM)

    def post(self, stack: Stack, number: int, *, connections: int = 0) -> list[Answer]:
        answers = post_all(
            stack.port, new_orders(number), connections=connections or self.options.connections, within=WITHIN
        )
        return _all_created(answers)

    @contextmanager
    def measured(self, stack: Stack) -> Iterator[list[cpu.Used]]:
        """Measures what the block uses. The list has it after the block."""
        used: list[cpu.Used] = []
        self.run.probes.append(cpu.probe())
        before = cpu.Moment.now(stack.roles() | self.ground.pids())
        yield used
        used.append(cpu.Used.between(before, cpu.Moment.now(stack.roles() | self.ground.pids())))
        self.run.probes.append(cpu.probe())
        self.run.others.append(used[0].others)


def throughput(bench: Bench) -> None:
    options = bench.options
    new_orders(options.orders)  # made now, they cost nothing later
    with bench.system() as stack:
        with bench.measured(stack) as used:
            accepted, final, answers = _take_all(bench, stack, options.orders)
        bench.add("accepted", accepted, "orders/s")
        bench.add("end to end", final, "orders/s")
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            bench.add(f"POST {name}", _percentile([answer.seconds for answer in answers], share), "ms")
        for role, seconds in used[0].by_role.items():
            bench.add(f"CPU {role}", seconds / options.orders * 1000, "s per 1000 orders")
        stack.verify(orders=options.warm_up + options.orders, accepted=_ids(answers))


def latency(bench: Bench) -> None:
    options = bench.options
    due = poisson(options.rate, options.seconds)
    with bench.system() as stack:
        loop = OpenLoop(stack.port, new_orders(len(due)), due)
        with bench.measured(stack):
            loop.run(within=options.seconds + WITHIN)
        answers = _all_created(loop.answers)
        for what, times in (("POST", [answer.seconds for answer in answers]), ("POST to final", loop.final)):
            for name, share in (("p50", 0.5), ("p99", 0.99)):
                bench.add(f"{what} {name}", _percentile(times, share), "ms")
        stack.verify(orders=options.warm_up + len(due), accepted=_ids(answers))


def drain(bench: Bench) -> None:
    number, processor = bench.options.drained, ("processor-consume", "processor-relay")
    with bench.system() as stack:
        stack.stop(*processor)
        answers = bench.post(stack, number)
        stack.wait(lambda: not stack.waiting(ORDER), "all orders are announced")
        bench.come_to_rest()
        with bench.measured(stack):
            started = time.perf_counter()
            stack.start(*processor)
            stack.wait_until_final()
            bench.add("start to last final", time.perf_counter() - started, "s")
        # Leaves out orders of the first moment: they mark its beginning and are not work done since.
        [(rate,)] = stack.query(
            ORDER,
            "WITH last AS (SELECT updated_at FROM {orders} ORDER BY created_at DESC LIMIT " + str(number) + ") "
            "SELECT count(*) FILTER (WHERE updated_at > first)"
            " / nullif(extract(epoch FROM max(updated_at) - min(updated_at)), 0)::float"
            " FROM last, (SELECT min(updated_at) AS first FROM last) AS beginning",
        )
        bench.add("first to last final", rate or 0.0, "orders/s")
        stack.verify(orders=bench.options.warm_up + number, accepted=_ids(answers))


def backlog(bench: Bench) -> None:
    """Measures the same system four times: with relays running and stopped, with and without a backlog."""
    options, relays = bench.options, ("order-relay", "processor-relay")
    with bench.system() as stack:
        assert isinstance(stack, Project)
        with bench.measured(stack):
            running, _, answers = _take_all(bench, stack, options.orders)
        stack.stop(*relays)
        bench.come_to_rest()
        with bench.measured(stack):
            stopped = _accept_all(bench, stack, answers)
        stack.start(*relays)
        stack.wait_until_final()
        stack.stop(*relays)
        add_pending_orders(stack, options.backlog)
        [(last,)] = stack.query(ORDER, "SELECT max(id) FROM {outbox}")
        bench.come_to_rest()
        with bench.measured(stack):
            stopped_behind = _accept_all(bench, stack, answers)
        waiting = stack.waiting(ORDER)
        started = time.perf_counter()
        stack.start(*relays)
        stack.wait(lambda: stack.waiting(ORDER) < waiting, "the relay has begun")
        with bench.measured(stack):
            running_behind = _accept_all(bench, stack, answers)
        [(left,)] = stack.query(ORDER, f"SELECT count(*) FROM {{outbox}} WHERE id <= {int(last)}")
        stack.wait_until_final()
        seconds = time.perf_counter() - started
        bench.add("accepted, relays stopped, empty outbox", stopped, "orders/s")
        bench.add(f"accepted, relays stopped, {options.backlog} in the outbox", stopped_behind, "orders/s")
        bench.add("with backlog / without, relays stopped", stopped_behind / stopped, "×")
        bench.add("accepted, relays running, no backlog", running, "orders/s")
        bench.add("accepted, relays working the backlog off", running_behind, "orders/s")
        bench.add("with backlog / without, relays running", running_behind / running, "×")
        bench.add("of the backlog left when the last of these was accepted", left, "messages")
        bench.add(
            "backlog and new orders worked off to the last final", (waiting + options.orders) / seconds, "orders/s"
        )
        stack.verify(orders=options.warm_up + 4 * options.orders + options.backlog, accepted=_ids(answers))


def size(bench: Bench) -> None:
    """Throughput with empty and with full tables; then how much memory a long queue costs."""
    options = bench.options
    with bench.system() as stack:
        assert isinstance(stack, Project)
        with bench.measured(stack):
            accepted, final, answers = _take_all(bench, stack, options.orders)
        add_final_orders(stack, options.size)
        answers += bench.post(stack, options.warm_up)
        stack.wait_until_final()
        bench.come_to_rest()
        with bench.measured(stack):
            accepted_full, final_full, more = _take_all(bench, stack, options.orders)
        placed = 2 * (options.warm_up + options.orders) + options.size
        stack.verify_orders(orders=placed, accepted=_ids([*answers, *more]))
        bench.add("accepted, empty tables", accepted, "orders/s")
        bench.add(f"accepted, {options.size} orders in the tables", accepted_full, "orders/s")
        bench.add("accepted, full / empty", accepted_full / accepted, "×")
        bench.add("end to end, empty tables", final, "orders/s")
        bench.add(f"end to end, {options.size} orders in the tables", final_full, "orders/s")
        bench.add("end to end, full / empty", final_full / final, "×")
        _memory(bench, stack)


def _memory(bench: Bench, stack: Project) -> None:
    number = bench.options.size
    stack.stop(*[name for name, program in stack.programs.items() if program.is_running])
    [(records_before,)] = stack.query(PROCESSOR, "SELECT count(*) FROM {records}")
    add_pending_orders(stack, number, after=number)

    stack.start("order-web", "processor-web")
    bench.post(stack, bench.options.warm_up)
    web = _peak(stack, "order-web", below=True)
    waiting = stack.waiting(ORDER)
    stack.start("order-relay")
    stack.wait(lambda: not stack.waiting(ORDER), "all is announced")
    relay = _peak(stack, "order-relay")
    stack.stop("order-relay")
    # There may be more: a broker short of memory confirms nothing, and what is not confirmed is announced again.
    if stack.broker.waiting().get(PROCESSOR_QUEUE, 0) < waiting:
        raise BenchmarkError(f"{waiting} messages were announced; in the queues wait {stack.broker.waiting()}")

    stack.start("processor-consume")
    enough = min(number, 20_000)
    stack.wait(lambda: _decided(stack, records_before) >= enough, f"{enough} orders are decided")
    consumer = _peak(stack, "processor-consume")
    stack.stop("processor-consume")
    left = stack.broker.waiting().get(PROCESSOR_QUEUE, 0)
    seen = _decided(stack, records_before)
    if left + seen < waiting:
        raise BenchmarkError(f"of {waiting} messages {seen} are decided and {left} wait")
    bench.add(f"peak memory of a web worker, {waiting} in the outbox", web, "MB")
    bench.add(f"peak memory of the relay, {waiting} in the outbox", relay, "MB")
    bench.add(f"peak memory of the consumer, {waiting} in the work queue", consumer, "MB")


def idle(bench: Bench) -> None:
    with bench.system() as stack:
        time.sleep(5 * CALM)
        with bench.measured(stack) as used:
            time.sleep(bench.options.idle_seconds)
        shares = {role: used[0].by_role[role] / used[0].seconds * 100 for role in stack.roles()}
        bench.add("all processes together", sum(shares.values()), "% of a core")
        for role, share in shares.items():
            bench.add(f"of that, {role}", share, "% of a core")
        stack.verify(orders=bench.options.warm_up, accepted=())


def scale(bench: Bench) -> None:
    orders = SCALE_TIMES * bench.options.orders
    new_orders(orders)  # made now, they cost nothing later
    for workers, relays, consumers in product((2, 4), (1, 2), (1, 3)):

        def add_more(stack: Stack, relays: int = relays, consumers: int = consumers) -> None:
            for service in ("order", "processor"):
                stack.start_more(f"{service}-relay", relays - 1)
                stack.start_more(f"{service}-consume", consumers - 1)

        with bench.system(before=add_more, WEB_CONCURRENCY=str(workers)) as stack:
            with bench.measured(stack):
                accepted, final, answers = _take_all(bench, stack, orders)
            of = f"{workers} web workers, relays × {relays}, consumers × {consumers}"
            bench.add(f"accepted, {of}", accepted, "orders/s")
            bench.add(f"end to end, {of}", final, "orders/s")
            stack.verify(orders=bench.options.warm_up + orders, accepted=_ids(answers))


def bulk(bench: Bench) -> None:
    orders = bench.options.orders
    number = -(-4 * orders // BATCH)
    bodies = [b'{"orders": [%s]}' % b",".join(new_orders(BATCH)) for _ in range(number)]
    with bench.system() as stack:
        assert isinstance(stack, Project)
        [first] = post_all(stack.port, bodies[:1], connections=1, within=WITHIN, path="/orders/batch")
        if first.status in (404, 405):
            bench.run.skipped = f"POST /orders/batch answers {first.status}: this version has no such endpoint."
            return
        accepted_ids = _ids_of_batches([first])
        stack.wait_until_final()
        bench.come_to_rest()
        with bench.measured(stack):
            accepted, final, one_by_one = _take_all(bench, stack, orders)
        bench.come_to_rest()
        with bench.measured(stack):
            started = time.perf_counter()
            answers = post_all(stack.port, bodies, connections=BATCH_CONNECTIONS, within=WITHIN, path="/orders/batch")
            seconds = time.perf_counter() - started
            stack.wait_until_final()
            seconds_to_final = time.perf_counter() - started
        bench.come_to_rest()
        with bench.measured(stack):
            for_one = stack.import_orders(new_orders(1))
            seconds_of_import = stack.import_orders(new_orders(number * BATCH)) - for_one
            stack.wait_until_final()
        accepted_ids += _ids(one_by_one) + _ids_of_batches(answers)
        bench.add("accepted, one by one", accepted, "orders/s")
        bench.add(f"accepted, {BATCH} at once", number * BATCH / seconds, "orders/s")
        bench.add("accepted, batches / one by one", number * BATCH / seconds / accepted, "×")
        bench.add("accepted, from a file", number * BATCH / seconds_of_import, "orders/s")
        bench.add("accepted, from a file / one by one", number * BATCH / seconds_of_import / accepted, "×")
        bench.add("end to end, one by one", final, "orders/s")
        bench.add(f"end to end, {BATCH} at once", number * BATCH / seconds_to_final, "orders/s")
        bench.add(f"a POST of {BATCH} orders, p50", _percentile([answer.seconds for answer in answers], 0.5), "ms")
        kept = bench.options.warm_up + orders + BATCH + number * BATCH + 1 + number * BATCH
        stack.verify(orders=kept, accepted=accepted_ids)


def waiting(bench: Bench) -> None:
    """The same requests without, with, and again without clients that wait for orders; then the orders become final."""
    options = bench.options
    due = poisson(options.rate, options.seconds)
    others: list[Answer] = []
    with bench.system(WAITING_MAX_SECONDS="3600", WAITING_MAX_CLIENTS=str(options.waiting)) as stack:
        assert isinstance(stack, Project)
        stack.stop("processor-consume")
        awaited = _ids(bench.post(stack, options.waiting))
        stack.wait(lambda: not stack.waiting(ORDER), "all orders are announced")

        def measure() -> dict[tuple[str, float], float]:
            """Times of other requests in milliseconds, and the shares of a core that are used while there are none."""
            bench.come_to_rest()
            with bench.measured(stack) as used:
                time.sleep(options.idle_seconds)
            loop = OpenLoop(stack.port, new_orders(len(due)), due, watch=False)
            with bench.measured(stack) as asked:
                loop.run(within=options.seconds + WITHIN)
                reads = get_all(
                    stack.port, [f"/orders/{one}" for one in awaited], connections=GET_CONNECTIONS, within=WITHIN
                )
            others.extend(_all_created(loop.answers))
            times = {"POST": loop.answers, "GET": reads}
            return {
                (name, share): _percentile([answer.seconds for answer in answers], share)
                for name, answers in times.items()
                for share in (0.5, 0.99)
            } | {
                ("CPU web of a request", 0.0): asked[0].by_role["web"] / (len(due) + len(reads)) * 1000,
                **{(role, 1.0): used[0].by_role[role] / used[0].seconds * 100 for role in ("web", "PostgreSQL")},
            }

        paths = [f"/orders/{one}?wait=3600" for one in awaited]
        before = measure()
        with Waiters(stack.port, paths):
            stack.wait(lambda: _waiting_clients(stack) == options.waiting, "all clients wait")
            beside = measure()
            if _waiting_clients(stack) != options.waiting:
                raise BenchmarkError("some clients no longer wait")
        stack.wait(lambda: not _waiting_clients(stack), "those who left are forgotten")
        after = measure()
        without = {figure: (before[figure] + after[figure]) / 2 for figure in before}
        with Waiters(stack.port, paths) as waiters:
            stack.wait(lambda: _waiting_clients(stack) == options.waiting, "all clients wait")
            with bench.measured(stack):
                stack.start("processor-consume")
                answers = waiters.answers(within=WITHIN)
        stack.wait_until_final()
        who = f"{options.waiting} wait"
        for name, share in without:
            nobody, many = without[name, share], beside[name, share]
            if share < 1:
                figure = f"{name} p{share * 100:.0f}" if share else name
                bench.add(f"{figure}, nobody waits", nobody, "ms")
                bench.add(f"{figure}, {who}", many, "ms")
                bench.add(f"{figure}, {who} / nobody waits", many / nobody, "×")
            else:
                bench.add(f"CPU {name} while {who}", many - nobody, "% of a core")
        final = dict(stack.query(ORDER, "SELECT id::text, extract(epoch FROM updated_at)::float FROM {orders}"))
        late = [at - final[json.loads(answer.body)["id"]] for at, answer in answers]
        for share in (0.5, 0.99):
            bench.add(f"from final to the answer, p{share * 100:.0f}", _percentile(late, share), "ms")
        stack.verify(orders=options.warm_up + options.waiting + 3 * len(due), accepted=[*awaited, *_ids(others)])


def _waiting_clients(stack: Stack) -> int:
    with urlopen(f"http://127.0.0.1:{stack.port}/metrics", timeout=WITHIN) as answer:
        lines = answer.read().decode().splitlines()
    return int(sum(float(line.split()[-1]) for line in lines if line.startswith("http_waiting_clients")))


@dataclass(frozen=True, slots=True)
class Mode:
    measure: Callable[[Bench], None]
    stacks: Sequence[str]
    title: Callable[[Options], str]


_BOTH, _PROJECT = (Project.name, Floor.name), (Project.name,)

MODES = {
    "throughput": Mode(throughput, _BOTH, lambda o: f"{o.orders} orders over {o.connections} connections"),
    "latency": Mode(latency, _BOTH, lambda o: f"{o.rate:g} orders a second, at random moments, for {o.seconds:g} s"),
    "drain": Mode(drain, _BOTH, lambda o: f"{o.drained} orders that waited for the processor"),
    "backlog": Mode(backlog, _PROJECT, lambda o: f"{o.orders} orders, with and without {o.backlog} in the outbox"),
    "size": Mode(size, _PROJECT, lambda o: f"{o.orders} orders, with and without {o.size} others in the tables"),
    "idle": Mode(idle, _PROJECT, lambda o: f"nothing to do for {o.idle_seconds:g} s"),
    "waiting": Mode(waiting, _PROJECT, lambda o: f"{o.waiting} clients that wait, and {o.rate:g} orders a second"),
    "scale": Mode(scale, _BOTH, lambda o: f"{SCALE_TIMES * o.orders} orders over {o.connections} connections"),
    "bulk": Mode(bulk, _PROJECT, lambda o: f"{BATCH} orders in one POST, over {BATCH_CONNECTIONS} connections"),
}
DEFAULT = ("throughput", "latency", "drain")


def _take_all(bench: Bench, stack: Stack, number: int) -> tuple[float, float, list[Answer]]:
    """Posts this many orders. Returns orders a second until all are answered, until all are final, and the answers."""
    started = time.perf_counter()
    answers = bench.post(stack, number)
    accepted = time.perf_counter() - started
    stack.wait_until_final()
    return number / accepted, number / (time.perf_counter() - started), answers


def _accept_all(bench: Bench, stack: Stack, answers: list[Answer]) -> float:
    """Posts orders and returns how many a second until all are answered. Adds the answers to `answers`."""
    started = time.perf_counter()
    answers += bench.post(stack, bench.options.orders)
    return bench.options.orders / (time.perf_counter() - started)


def _all_created(answers: list[Answer]) -> list[Answer]:
    if refused := [answer for answer in answers if answer.status != 201]:
        raise BenchmarkError(
            f"{len(refused)} of {len(answers)} requests were refused: {refused[0].status} {refused[0].body[:300]!r}"
        )
    return answers


def _ids(answers: Sequence[Answer]) -> list[str]:
    return [json.loads(answer.body)["id"] for answer in answers]


def _ids_of_batches(answers: Sequence[Answer]) -> list[str]:
    """The ids of all orders. Raises BenchmarkError unless every order of every batch was taken."""
    ids = []
    for answer in answers:
        results = json.loads(answer.body)["results"] if answer.status == 200 else []
        if len(results) != BATCH or any(result["status"] != 201 for result in results):
            raise BenchmarkError(f"a batch was not taken: {answer.status} {answer.body[:300]!r}")
        ids += [result["order"]["id"] for result in results]
    return ids


def _decided(stack: Stack, before: int) -> int:
    [(records,)] = stack.query(PROCESSOR, "SELECT count(*) FROM {records}")
    return int(records) - before


def _peak(stack: Stack, name: str, *, below: bool = False) -> float:
    """The most megabytes that this process has had resident; with `below`, of its children the largest."""
    pid = stack.programs[name].pid
    assert pid is not None
    return max(map(peak_bytes, children(pid) if below else [pid])) / 2**20


def _percentile(seconds: Sequence[float], share: float) -> float:
    """The percentile in milliseconds."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000
