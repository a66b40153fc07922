"""What every embedding server needs of its client: bounded batches, lanes and checked vectors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

import numpy as np

from deployments.contracts.embedding import Lane, Vectors
from deployments.errors import EmbeddingUnavailable


class RemoteBatches:
    """Sends texts by `batch_texts` with at most `parallel` batches under way.

    Ingestion gets one of them less, so that a question always finds a free one.
    """

    def __init__(
        self,
        ask: Callable[[Sequence[str]], Awaitable[Sequence[Sequence[float]]]],
        server: str,
        *,
        batch_texts: int,
        parallel: int,
    ) -> None:
        self._ask = ask
        self._server = server
        self._batch_texts = batch_texts
        self._all = asyncio.Semaphore(parallel)
        self._ingestion = asyncio.Semaphore(max(1, parallel - 1))
        self._dimension: int | None = None

    async def dimension(self) -> int:
        """Components of a vector, learnt from the first one seen."""
        if self._dimension is None:
            return int((await self._asked(["dimension"])).shape[1])
        return self._dimension

    async def embed(self, texts: Sequence[str], lane: Lane) -> Vectors:
        """Unit vectors of `texts`, order kept.

        Raises:
            EmbeddingUnavailable: the server failed, or what it sent are no vectors of one model.
        """
        if not texts:
            return np.zeros((0, await self.dimension()), np.float32)
        starts = range(0, len(texts), self._batch_texts)
        try:
            # Where one batch fails, the group cancels the others.
            async with asyncio.TaskGroup() as group:
                batches = [
                    group.create_task(self._in_lane(texts[at : at + self._batch_texts], lane))
                    for at in starts
                ]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return np.concatenate([batch.result() for batch in batches])

    async def _in_lane(self, texts: Sequence[str], lane: Lane) -> Vectors:
        async with AsyncExitStack() as slots:
            if lane is Lane.INGESTION:
                await slots.enter_async_context(self._ingestion)
            await slots.enter_async_context(self._all)
            return await self._asked(texts)

    async def _asked(self, texts: Sequence[str]) -> Vectors:
        rows = await self._ask(texts)
        try:
            vectors = np.asarray(rows, np.float32)
        except (TypeError, ValueError) as error:
            raise EmbeddingUnavailable(f"{self._server} sent no vectors") from error
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
            raise EmbeddingUnavailable(f"{self._server} sent no vector for each text")
        if vectors.shape[1] != (self._dimension or vectors.shape[1]):
            raise EmbeddingUnavailable(
                f"{self._server} now sends {vectors.shape[1]} dimensions, not {self._dimension}"
            )
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not lengths.all():
            raise EmbeddingUnavailable(f"{self._server} sent a vector of length zero")
        self._dimension = vectors.shape[1]
        unit: Vectors = vectors / lengths
        return unit
