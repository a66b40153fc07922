"""Micro-batches across callers, for an engine that computes a batch on one core.

While a lane's workers are busy, its requests gather; when one is free, the next batch is made of
what is there. Nothing ever waits for company, so an idle engine answers at once and a busy one
batches by itself. `serve.batch` cannot do this: it batches whole calls, knows no lanes and no
lengths, and waits for a window of time to pass.
"""

from __future__ import annotations

import asyncio
import heapq
import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from deployments.contracts.embedding import Lane
from deployments.errors import EmbeddingUnavailable, Overloaded

Item = TypeVar("Item")
Result = TypeVar("Result")

INGESTION_NICENESS: Final = 10
"""A tenth of a question's weight: that much is left to ingestion where questions never end."""
RUN_TOKENS: Final = 16
"""What running the model costs MiniLM before the first token, in tokens (4 ms of 0.25 ms each)."""
_RETRY_AFTER_S: Final = 1.0
"""A full lane has emptied by a batch or more within this."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What bounds a batch and the waiting.

    `tokens`: the longest item's length times the number of items, which is what a batch costs.
    MiniLM's rate on mixed lengths is best at 256 to 512, whose activations fit the caches: 1024
    gives 5 to 20 % less, 4096 20 to 30 %. `waiting`: items in a lane from which on it takes no
    further call.
    """

    tokens: int = 512
    waiting: int = 4096


class MicroBatcher(Generic[Item, Result]):
    """Runs `compute` on batches of similar lengths, in `workers` threads a lane.

    Each lane has threads of its own, and those of ingestion are niced: a question never waits for
    chunks, the kernel takes a core from them at once. A batch is built around the lane's oldest
    item: every item's turn comes.

    `size` is an item's length in tokens. Belongs to the event loop that submits to it.
    """

    def __init__(
        self,
        compute: Callable[[list[Item]], Sequence[Result]],
        size: Callable[[Item], int],
        limits: BatchLimits | None = None,
        workers: int = 1,
    ) -> None:
        self._size = size
        self._limits = limits or BatchLimits()
        self._lanes = {
            lane: _LaneQueue(lane, compute, self._limits.tokens, workers) for lane in Lane
        }
        self._closed = False

    def waiting(self, lane: Lane) -> int:
        """Items of `lane` that no batch has taken yet."""
        return self._lanes[lane].waiting

    async def submit(self, items: Sequence[Item], lane: Lane) -> list[Result]:
        """The result of each item, order kept.

        A caller who is cancelled takes what no batch has taken yet out of the queue.

        Raises:
            Overloaded: the lane is full. Carries `retry_after_s`.
            EmbeddingUnavailable: closed.
            Exception: whatever `compute` raised on a batch with one of these items.
        """
        if self._closed:
            raise EmbeddingUnavailable("the embedding engine was shut down")
        if self.waiting(lane) >= self._limits.waiting:
            raise Overloaded("too many texts wait for embedding", retry_after_s=_RETRY_AFTER_S)
        if not items:
            return []
        call = _Call([None] * len(items), len(items), asyncio.get_running_loop().create_future())
        self._lanes[lane].add(
            _Waiting(call, index, item, self._size(item)) for index, item in enumerate(items)
        )
        await call.done
        return call.results

    async def aclose(self) -> None:
        """Fail who waits, let the batches under way end, stop the threads."""
        self._closed = True
        await asyncio.gather(*(queue.aclose() for queue in self._lanes.values()))


class _LaneQueue:
    """What waits in a lane, and the threads that work it off."""

    def __init__(
        self, lane: Lane, compute: Callable[[list[Any]], Sequence[Any]], tokens: int, workers: int
    ) -> None:
        self._queue: list[_Waiting] = []
        self._compute = compute
        self._tokens = tokens
        self._workers = workers
        self._runners: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(
            workers,
            thread_name_prefix=f"{lane}-batches",
            initializer=give_way if lane is Lane.INGESTION else None,
        )

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def add(self, items: Iterable[_Waiting]) -> None:
        self._queue += items
        while len(self._runners) < self._workers:
            self._runners.add(asyncio.create_task(self._run(), name="micro-batches"))

    async def aclose(self) -> None:
        for waiting in self._queue:
            waiting.call.fail(EmbeddingUnavailable("the embedding engine was shut down"))
        self._queue.clear()
        if self._runners:
            await asyncio.wait(self._runners)
        self._threads.shutdown()

    async def _run(self) -> None:
        """Batch after batch until nothing waits; the next call starts it anew."""
        try:
            while batch := self._next_batch():
                await self._answer(batch)
        finally:
            # At once: a call that comes now needs another runner.
            self._runners -= {asyncio.current_task()}

    async def _answer(self, batch: Sequence[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        items = [waiting.item for waiting in batch]
        try:
            results = await loop.run_in_executor(self._threads, self._compute, items)
            answered = list(zip(batch, results, strict=True))
        except Exception as error:  # noqa: BLE001 - it is the callers', whatever it is
            for waiting in batch:
                waiting.call.fail(error)
            return
        for waiting, result in answered:
            waiting.call.put(waiting.index, result)

    def _next_batch(self) -> list[_Waiting]:
        # Without callers who left, and those whose other texts the engine failed on.
        queue = [waiting for waiting in self._queue if not waiting.call.done.done()]
        batch = self._around(queue[0], queue) if queue else []
        taken = {id(waiting) for waiting in batch}
        self._queue = [waiting for waiting in queue if id(waiting) not in taken]
        return batch

    def _around(self, oldest: _Waiting, queue: list[_Waiting]) -> list[_Waiting]:
        """The oldest item and those nearest to it in length, as many as the tokens allow.

        None that would cost more in padding than a run of its own does.
        """
        room = max(1, self._tokens // max(1, oldest.size))
        nearest = heapq.nsmallest(room, queue, key=lambda w: abs(w.size - oldest.size))
        batch, longest = [oldest], oldest.size
        for waiting in nearest:
            if waiting is oldest:
                continue
            padded = max(longest, waiting.size) * (len(batch) + 1)
            padding = padded - longest * len(batch) - waiting.size
            if padded > self._tokens or padding > RUN_TOKENS:
                break
            longest = max(longest, waiting.size)
            batch.append(waiting)
        return batch


def give_way() -> None:
    """Nice this thread alone, for ingestion. Only Linux can: elsewhere it stays as it is."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), INGESTION_NICENESS)


@dataclass(slots=True)
class _Call:
    results: list[Any]
    missing: int
    done: asyncio.Future[None]

    def put(self, index: int, result: Any) -> None:
        self.results[index] = result
        self.missing -= 1
        if not self.missing and not self.done.done():
            self.done.set_result(None)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(slots=True)
class _Waiting:
    call: _Call
    index: int
    item: Any
    size: int
