"""Micro-batches across callers, for an engine that computes one batch at a time.

While the engine is busy, requests gather; when it is free, the next batch is made of what is
there. Nothing ever waits for company, so an idle engine answers at once and a busy one batches
by itself. `serve.batch` cannot do this: it batches whole calls, knows no lanes and no lengths,
and waits for a window of time to pass.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from deployments.contracts.embedding import Lane
from deployments.errors import EmbeddingUnavailable, Overloaded

Item = TypeVar("Item")
Result = TypeVar("Result")

_RETRY_AFTER_S = 1.0
"""A full lane has emptied by a batch or more within this."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What bounds a batch and the waiting.

    `tokens`: the longest item's length times the number of items, which is what a batch costs;
    a question waits for one such batch at most before its own. MiniLM's rate on mixed lengths
    is best at 256 to 512, whose activations fit the caches: 1024 gives 5 to 20 % less, 4096
    20 to 30 %. `patience_s`: while questions
    keep coming, ingestion still gets a batch this often. `waiting`: items in a lane from which
    on it takes no further call.
    """

    tokens: int = 512
    patience_s: float = 1.0
    waiting: int = 4096


class MicroBatcher(Generic[Item, Result]):
    """Runs `compute` in a thread of its own on batches of similar lengths.

    A batch holds items of one lane, so that no question waits for chunks that happen to share
    its batch. It is built around the lane's oldest item: every item's turn comes.

    `size` is an item's length in tokens. Belongs to the event loop that first submits to it.
    """

    def __init__(
        self,
        compute: Callable[[list[Item]], Sequence[Result]],
        size: Callable[[Item], int],
        limits: BatchLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._compute = compute
        self._size = size
        self._limits = limits or BatchLimits()
        self._clock = clock
        self._lanes: dict[Lane, list[_Waiting]] = {lane: [] for lane in Lane}
        self._ingested_at_s = clock()
        self._runner: asyncio.Task[None] | None = None
        self._closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="micro-batches")

    def waiting(self, lane: Lane) -> int:
        """Items of `lane` that no batch has taken yet."""
        return len(self._lanes[lane])

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
        if lane is Lane.INGESTION and not self._lanes[lane]:
            self._ingested_at_s = self._clock()
        self._lanes[lane] += [
            _Waiting(call, index, item, self._size(item)) for index, item in enumerate(items)
        ]
        if self._runner is None:
            self._runner = asyncio.create_task(self._run(), name="micro-batches")
        await call.done
        return call.results

    async def aclose(self) -> None:
        """Fail who waits, let the batch under way end, stop the thread."""
        self._closed = True
        for lane in Lane:
            for waiting in self._lanes[lane]:
                waiting.call.fail(EmbeddingUnavailable("the embedding engine was shut down"))
            self._lanes[lane].clear()
        if self._runner is not None:
            await asyncio.wait({self._runner})
        self._thread.shutdown()

    async def _run(self) -> None:
        """Batch after batch until nothing waits; the next call starts it anew."""
        loop = asyncio.get_running_loop()
        try:
            while batch := self._next_batch():
                items = [waiting.item for waiting in batch]
                try:
                    results = await loop.run_in_executor(self._thread, self._compute, items)
                    answered = list(zip(batch, results, strict=True))
                except Exception as error:  # noqa: BLE001 - it is the callers', whatever it is
                    for waiting in batch:
                        waiting.call.fail(error)
                    continue
                for waiting, result in answered:
                    waiting.call.put(waiting.index, result)
        finally:
            self._runner = None

    def _next_batch(self) -> list[_Waiting]:
        for lane, queue in self._lanes.items():
            # Callers who left, and those whose other texts the engine failed on.
            self._lanes[lane] = [waiting for waiting in queue if not waiting.call.done.done()]
        lane = self._next_lane()
        queue = self._lanes[lane]
        if not queue:
            return []
        if lane is Lane.INGESTION:
            self._ingested_at_s = self._clock()
        batch = self._around(queue[0], queue)
        taken = {id(waiting) for waiting in batch}
        self._lanes[lane] = [waiting for waiting in queue if id(waiting) not in taken]
        return batch

    def _next_lane(self) -> Lane:
        overdue = self._clock() - self._ingested_at_s >= self._limits.patience_s
        if self._lanes[Lane.INGESTION] and (overdue or not self._lanes[Lane.QUERY]):
            return Lane.INGESTION
        return Lane.QUERY

    def _around(self, oldest: _Waiting, queue: list[_Waiting]) -> list[_Waiting]:
        """The oldest item and those nearest to it in length, as many as the tokens allow."""
        room = max(1, self._limits.tokens // max(1, oldest.size))
        nearest = heapq.nsmallest(room, queue, key=lambda w: abs(w.size - oldest.size))
        batch, longest = [oldest], oldest.size
        for waiting in nearest:
            if waiting is oldest:
                continue
            longest = max(longest, waiting.size)
            if longest * (len(batch) + 1) > self._limits.tokens:
                break
            batch.append(waiting)
        return batch


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
