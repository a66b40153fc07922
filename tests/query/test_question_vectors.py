from __future__ import annotations

import numpy as np
from query_room import MODEL, Room, WordsEmbedder, ask, furnished_room

from deployments.contracts.embedding import EmbeddingModel, Vectors
from deployments.query.question_vectors import QuestionVectors
from deployments.state.memory.cache import MemoryCache


class Counted:
    """Embeds one text, and counts how often."""

    def __init__(self, text: str = "Where are backups copied?") -> None:
        self.text = text
        self.embedder = WordsEmbedder()

    async def __call__(self) -> Vectors:
        first: Vectors = (await self.embedder.embed([self.text]))[0]
        return first

    async def by(self, vectors: QuestionVectors, model: EmbeddingModel = MODEL) -> Vectors:
        return await vectors.of(self.text, model, self)


async def test_a_question_is_embedded_once_for_all_replicas() -> None:
    cache, asked = MemoryCache(), Counted()
    one, other = (QuestionVectors(cache, ttl_s=60) for _ in range(2))
    first = await asked.by(one)
    assert np.array_equal(first, await asked.by(one))
    assert np.array_equal(first, await asked.by(other))
    assert len(asked.embedder.calls) == 1


async def test_another_models_vector_is_another_vector() -> None:
    vectors, asked = QuestionVectors(MemoryCache(), ttl_s=60), Counted()
    await asked.by(vectors)
    await asked.by(vectors, EmbeddingModel("other", MODEL.dimension, MODEL.max_tokens))
    assert len(asked.embedder.calls) == 2


async def test_only_the_latest_questions_are_remembered() -> None:
    vectors, first, second = QuestionVectors(None, keep=1, ttl_s=60), Counted(), Counted("Why?")
    for asked in (first, second, first):
        await asked.by(vectors)
    assert (len(first.embedder.calls), len(second.embedder.calls)) == (2, 1)


async def test_a_repeated_search_embeds_nothing(room: Room) -> None:
    pipeline = room.pipeline()
    found = await pipeline.search(ask())
    assert len(room.embedder.calls) == 1
    assert (await pipeline.search(ask())).passages == found.passages
    assert len(room.embedder.calls) == 1
    await pipeline.search(ask(cache=False))
    assert len(room.embedder.calls) == 2


async def test_a_search_goes_on_while_the_cache_is_out() -> None:
    room = await furnished_room()
    room.cache = OutCache()
    assert (await room.pipeline().search(ask())).passages


class OutCache(MemoryCache):
    """What the cache over Redis is while Redis is away."""

    async def get(self, key: str) -> bytes | None:
        return None

    async def set(self, key: str, value: bytes, ttl_s: float) -> bool:
        return False
