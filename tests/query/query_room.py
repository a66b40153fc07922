"""A small corpus in the in-memory twins, and the pipeline on top of them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from deployments.contracts.embedding import EmbeddingModel, Lane, Vectors
from deployments.contracts.jobs import Snapshot
from deployments.contracts.query import QueryEvent, QueryRequest
from deployments.contracts.retrieval import Chunk, Collection, Document
from deployments.generation.memory import ScriptedGenerator
from deployments.query.pipeline import QueryPipeline
from deployments.query.settings import QuerySettings
from deployments.query.terms import terms
from deployments.retrieval.memory import MemoryStore
from deployments.state.memory.cache import MemoryCache

HANDBOOK: dict[str, Any] = json.loads(Path(__file__).with_name("handbook.json").read_text())
MODEL = EmbeddingModel("bag-of-words", 512, 256)


class WordsEmbedder:
    """Unit vectors of hashed words: texts that share words are near, others are not."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.delay_s = 0.0
        self.calls: list[list[str]] = []

    async def model(self) -> EmbeddingModel:
        if self.error:
            raise self.error
        return MODEL

    async def embed(self, texts: Sequence[str], lane: Lane = Lane.QUERY) -> Vectors:
        self.calls.append(list(texts))
        await asyncio.sleep(self.delay_s)
        if self.error:
            raise self.error
        rows = np.zeros((len(texts), MODEL.dimension), np.float32)
        for index, text in enumerate(texts):
            row = rows[index]
            for term in terms(text) or [text]:
                row[int(hashlib.sha256(term.encode()).hexdigest(), 16) % MODEL.dimension] += 1
            rows[index] = row / np.linalg.norm(row)
        return rows


class FixedVisibility:
    """A visibility that says what the test tells it."""

    def __init__(self) -> None:
        self.now = Snapshot(1, frozenset())

    async def snapshot(self, collection: str) -> Snapshot:
        return self.now

    async def hide(self, collection: str, versions: Sequence[int]) -> None:
        self.now = Snapshot(self.now.epoch + 1, self.now.hidden_versions | set(versions))

    async def due(self, now_s: float) -> list[tuple[str, int]]:
        return []

    async def swept(self, collection: str, version: int) -> None: ...

    async def forget(self, collection: str) -> None: ...


class CountingReranker:
    """Scores by the first number in a passage; counts its calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.error: Exception | None = None
        self.delay_s = 0.0

    async def rerank(self, question: str, passages: Sequence[str]) -> list[float]:
        self.calls += 1
        await asyncio.sleep(self.delay_s)
        if self.error:
            raise self.error
        found = [re.search(r"\d+", passage) for passage in passages]
        return [float(match.group()) if match else -1.0 for match in found]


class BrokenStore(MemoryStore):
    """A memory store that can be out."""

    error: Exception | None = None
    delay_s = 0.0

    async def search(self, request: Any) -> Any:
        await asyncio.sleep(self.delay_s)
        if self.error:
            raise self.error
        return await super().search(request)


@dataclass
class Room:
    """Everything a pipeline is made of, within reach of the test."""

    embedder: WordsEmbedder = field(default_factory=WordsEmbedder)
    store: BrokenStore = field(default_factory=BrokenStore)
    visibility: FixedVisibility = field(default_factory=FixedVisibility)
    generator: ScriptedGenerator = field(
        default_factory=lambda: ScriptedGenerator(answers=["29 days."])
    )
    reranker: CountingReranker | None = None
    cache: MemoryCache | None = None
    settings: QuerySettings = field(default_factory=QuerySettings)

    def pipeline(self) -> QueryPipeline:
        return QueryPipeline(
            self.embedder,
            self.store,
            self.visibility,
            self.generator,
            reranker=self.reranker,
            cache=self.cache,
            settings=self.settings,
        )


def document(number: int, title: str, chunks: int, version: int = 1) -> Document:
    return Document(f"d{number}", title, "s", "text/markdown", "h", 1, chunks, 0.0, version)


def handbook_chunks() -> list[Chunk]:
    return [
        Chunk(f"c{n}-{i}", i, text, document(n, entry["title"], len(entry["chunks"])))
        for n, entry in enumerate(HANDBOOK["documents"])
        for i, text in enumerate(entry["chunks"])
    ]


async def furnished_room() -> Room:
    made = Room()
    await made.store.create_collection(Collection("handbook", MODEL))
    chunks = handbook_chunks()
    vectors = await made.embedder.embed([chunk.text for chunk in chunks])
    await made.store.upsert("handbook", chunks, vectors)
    made.embedder.calls.clear()
    return made


def ask(
    question: str = "How many days of paid holiday do full-time employees have?", **changes: Any
) -> QueryRequest:
    return replace(QueryRequest("handbook", question), **changes)


async def collect(events: AsyncGenerator[QueryEvent, None]) -> list[QueryEvent]:
    return [event async for event in events]


async def eventually(condition: Callable[[], bool], within_s: float = 2.0) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - the fakes have no event to wait for
            await asyncio.sleep(0.005)
