"""Places the orders of a file, in chunks that no second run places again."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context
from threading import Event, Lock

from django.db import connection

from messaging import backpressure
from orders.batches import PlacedBatch, place_batch
from orders.models import OrderBatch
from orders.order_file import Chunk, ImportFailed, OrderFile
from orders.services import IdempotencyKeyInUse, IdempotencyKeyReused, TakesNoOrders, is_known

_LONGEST_WAIT = 10  # seconds
# Chunks placed at once. Others are read while PostgreSQL writes one: 1.5 to 2 times the orders per second.
_AT_ONCE = 4


def place_all(
    file: OrderFile,
    chunks: Iterator[Chunk],
    *,
    on_placed: Callable[[Chunk, PlacedBatch], object],
    on_wait: Callable[[int, str], object],
) -> None:
    """Places the chunks, a few at once, in threads with connections of their own; none is read before its turn.

    Calls `on_placed` after each chunk's commit, and before each wait `on_wait` with the seconds and the reason; neither
    ever runs twice at a time. Raises the first error, KeyboardInterrupt included, once the chunks in hand are placed or
    given up. Raises ImportFailed at the end if an earlier run placed chunks under limits that refused other orders.
    A crash leaves some chunks placed, not always the first ones, but each whole: the next run finds out which.
    """
    stop, reading, waiting = Event(), Lock(), Lock()
    judged_otherwise: list[Chunk] = []

    def wait(seconds: int, why: str) -> bool:
        with waiting:
            if not stop.is_set():
                on_wait(seconds, why)
            return not stop.wait(seconds)

    def work() -> None:
        try:
            while not stop.is_set():
                with reading:
                    chunk = next(chunks, None)
                if chunk is None:
                    return
                try:
                    placed = _place(file, chunk, wait)
                except IdempotencyKeyReused:
                    judged_otherwise.append(chunk)
                    continue
                if placed is None:
                    return
                with reading:
                    on_placed(chunk, placed)
        except BaseException:
            stop.set()
            raise
        finally:
            connection.close()

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            for worker in as_completed([pool.submit(copy_context().run, work) for _ in range(_AT_ONCE)]):
                worker.result()
        except KeyboardInterrupt:
            stop.set()
            raise
    if judged_otherwise:
        lines = sorted((chunk.entries[0].line, chunk.entries[-1].line) for chunk in judged_otherwise)
        where = ", ".join(f"{first} to {last}" for first, last in lines)
        raise ImportFailed(
            f"The orders of lines {where} were imported before, under limits that refused other orders. Put the orders "
            "that were refused then into a file of their own."
        )


def _place(file: OrderFile, chunk: Chunk, wait: Callable[[int, str], bool]) -> PlacedBatch | None:
    """Places the chunk as a batch, only once however often and by however many processes the file is imported.

    Waits while orders cannot be passed on (if the settings say so), and already shortly before that: shops must not
    be refused because of a file. Also waits while another process places this chunk.
    Returns None when `wait` returns False: the import is being stopped. Raises IdempotencyKeyReused when the chunk was
    placed before with other orders valid than now.
    """
    # Has blanks, so that no client can send the same key.
    key = f"import {file.sha256} {chunk.number}"
    while True:
        if backpressure.is_near() and not is_known(OrderBatch, None, key):
            seconds, why = 1, "what was placed before has to be passed on first"
        else:
            try:
                return place_batch(orders=[entry.order for entry in chunk.entries], idempotency_key=key)
            except IdempotencyKeyInUse:
                seconds, why = 1, "another process is importing this file"
            except TakesNoOrders as refusal:
                seconds, why = min(refusal.retry_after, _LONGEST_WAIT), "orders cannot be passed on at the moment"
        if not wait(seconds, why):
            return None
