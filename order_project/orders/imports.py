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
# Chunks placed at once. While PostgreSQL writes one, others are read: 1.5 to 2 times the orders per second.
_AT_ONCE = 4


def place_all(
    file: OrderFile,
    chunks: Iterator[Chunk],
    *,
    on_placed: Callable[[Chunk, PlacedBatch], object],
    on_wait: Callable[[int, str], object],
) -> None:
    """Places the chunks, a few at once, by threads with connections of their own; none is read before its turn.

    Calls, never two at a time, `on_placed` after each chunk's commit, and `on_wait` with the seconds and why before it
    waits. Raises the first error, KeyboardInterrupt included, once the chunks in hand are placed or given up, and
    ImportFailed at the end for chunks that an earlier run placed under other limits, so that it refused other orders.
    A crash leaves some chunks placed, not always the first ones, and no part of one: the next run finds out which.
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
    """Places the chunk as a batch, once, however often the file is imported and by however many processes.

    Waits while orders cannot be passed on (the settings may say so), and already before that: shops are not to be
    refused because of a file. Waits for another process that places this chunk, too.
    None when `wait` returns False: the import is being stopped. Raises IdempotencyKeyReused when other orders of the
    chunk were valid when it was placed than are now.
    """
    # No client can send a key with a blank in it.
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
