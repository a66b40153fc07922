"""Vectors of questions asked before, by any replica.

Embedding a question takes a hop to a replica and a pass through the model: 5 to 10 ms when nothing
else is going on, 30 ms on a busy machine. To ask the cache takes 0.1 ms, and nothing where this
process has seen the question: worth it from one repeated question in a hundred on. Texts are not
kept, only their digests.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import numpy as np

from deployments.contracts.embedding import EmbeddingModel, Vectors
from deployments.contracts.query import AnswerCache

_ITEM_BYTES = np.dtype("<f4").itemsize


class QuestionVectors:
    """The `keep` most recently asked in this process, and in the cache for `ttl_s`."""

    def __init__(self, cache: AnswerCache | None, *, keep: int = 2048, ttl_s: float) -> None:
        self._cache = cache
        self._keep = keep
        self._ttl_s = ttl_s
        self._near: OrderedDict[str, Vectors] = OrderedDict()

    async def of(
        self, text: str, model: EmbeddingModel, embed: Callable[[], Awaitable[Vectors]]
    ) -> Vectors:
        """The unit vector of `text`, by `embed` where nobody has it; raises what `embed` raises."""
        key = _key(text, model)
        vector = self._near.get(key)
        if vector is None:
            vector = await self._far(key, model)
        if vector is None:
            vector = await embed()
            if self._cache is not None:
                await self._cache.set(key, vector.astype("<f4").tobytes(), self._ttl_s)
        self._near[key] = vector
        self._near.move_to_end(key)
        while len(self._near) > self._keep:
            self._near.popitem(last=False)
        return vector

    async def _far(self, key: str, model: EmbeddingModel) -> Vectors | None:
        data = None if self._cache is None else await self._cache.get(key)
        if data is None or len(data) != model.dimension * _ITEM_BYTES:
            return None
        return np.frombuffer(data, "<f4").astype(np.float32)


def _key(text: str, model: EmbeddingModel) -> str:
    parts = (model.name, str(model.dimension), str(model.max_tokens), text)
    return f"vector:{hashlib.sha256(chr(0).join(parts).encode(errors='replace')).hexdigest()}"
