"""What models and collections say of themselves, asked once in a while instead of every time."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from deployments.contracts.embedding import Embedder, EmbeddingModel
from deployments.contracts.generation import GenerationModel, Generator
from deployments.contracts.retrieval import Collection, VectorStore
from deployments.errors import DependencyError

_KEEP = 1024


class Descriptions:
    """Descriptions trusted for `ttl_s`, and for as long as whoever gives them is out.

    A kept answer is found by the name of the model that wrote it: without the last known name
    no answer would be served from the cache while that model is out.

    A collection dropped within that time is still refused by the search itself, and one made
    again by another model is noticed when the time is over.
    """

    def __init__(
        self,
        embedder: Embedder,
        store: VectorStore,
        generator: Generator,
        ttl_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._embedder = embedder
        self._store = store
        self._generator = generator
        self._ttl_s = ttl_s
        self._clock = clock
        self._kept: dict[str, tuple[float, Any]] = {}

    async def embedding_model(self) -> EmbeddingModel:
        """Raises EmbeddingUnavailable."""
        model: EmbeddingModel = await self._ask("embedding", self._embedder.model)
        return model

    async def generation_model(self) -> GenerationModel:
        """Raises GenerationUnavailable."""
        model: GenerationModel = await self._ask("generation", self._generator.model)
        return model

    async def collection(self, name: str) -> Collection:
        """Raises CollectionNotFound and StoreUnavailable."""
        ask = lambda: self._store.get_collection(name)  # noqa: E731
        collection: Collection = await self._ask(f"collection:{name}", ask)
        return collection

    async def _ask(self, key: str, ask: Callable[[], Awaitable[Any]]) -> Any:
        kept = self._kept.get(key)
        if kept is not None and self._clock() < kept[0]:
            return kept[1]
        try:
            answer = await ask()
        except DependencyError:
            if kept is None:
                raise
            return kept[1]
        if len(self._kept) >= _KEEP:
            self._kept.clear()
        self._kept[key] = (self._clock() + self._ttl_s, answer)
        return answer
