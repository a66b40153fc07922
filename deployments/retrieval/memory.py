"""The store's in-memory twin: exact search over everything, for tests and for trying things out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from deployments.contracts.embedding import Vectors
from deployments.contracts.retrieval import (
    Chunk,
    Collection,
    Document,
    Passage,
    SearchMode,
    SearchRequest,
)
from deployments.errors import CollectionExists, CollectionNotFound
from deployments.retrieval.filters import Filter, parse
from deployments.retrieval.lexical import Bm25Index, indexed_words
from deployments.retrieval.limits import check_search, storable
from deployments.retrieval.predicates import matches
from deployments.retrieval.ranking import Ranking


@dataclass(slots=True)
class _Shelf:
    """One collection and what it holds; `words` is None until a lexical search needs it."""

    collection: Collection
    chunks: dict[str, Chunk] = field(default_factory=dict)
    vectors: dict[str, Vectors] = field(default_factory=dict)
    words: Bm25Index | None = None

    def index(self) -> Bm25Index:
        return Bm25Index(
            {
                key: indexed_words(chunk.document.title, chunk.heading, chunk.text)
                for key, chunk in self.chunks.items()
            }
        )

    def visible(self, hidden: frozenset[int], tree: Filter | None = None) -> dict[str, Chunk]:
        return {
            key: chunk
            for key, chunk in self.chunks.items()
            if chunk.document.version not in hidden and (tree is None or matches(tree, chunk))
        }


class MemoryStore:
    """A `VectorStore` that lives as long as the process."""

    def __init__(self) -> None:
        self._shelves: dict[str, _Shelf] = {}

    async def create_collection(self, collection: Collection) -> None:
        if collection.name in self._shelves:
            raise CollectionExists(
                f"collection {collection.name} exists", collection=collection.name
            )
        self._shelves[collection.name] = _Shelf(collection)

    async def drop_collection(self, name: str) -> None:
        self._shelf(name)
        del self._shelves[name]

    async def get_collection(self, name: str) -> Collection:
        return self._shelf(name).collection

    async def list_collections(self) -> list[Collection]:
        return [self._shelves[name].collection for name in sorted(self._shelves)]

    async def upsert(self, collection: str, chunks: Sequence[Chunk], vectors: Vectors) -> None:
        shelf = self._shelf(collection)
        for chunk, vector in zip(
            storable(chunks, vectors, shelf.collection.model.dimension), vectors, strict=True
        ):
            shelf.chunks[chunk.id] = chunk
            shelf.vectors[chunk.id] = _unit(vector)
        shelf.words = None

    async def delete_version(self, collection: str, version: int) -> None:
        shelf = self._shelf(collection)
        for key in [k for k, c in shelf.chunks.items() if c.document.version == version]:
            del shelf.chunks[key], shelf.vectors[key]
        shelf.words = None

    async def search(self, request: SearchRequest) -> list[Passage]:
        shelf = self._shelf(request.collection)
        check_search(request, shelf.collection.model.dimension)
        tree = parse(request.filter) if request.filter is not None else None
        chunks = shelf.visible(request.hidden_versions, tree)
        dense: dict[str, float] = {}
        lexical: dict[str, float] = {}
        if request.mode is not SearchMode.LEXICAL and request.vector is not None:
            query = _unit(request.vector)
            dense = _best({k: float(shelf.vectors[k] @ query) for k in chunks}, request.depth)
        if request.mode is not SearchMode.DENSE:
            shelf.words = shelf.words or shelf.index()
            scores = shelf.words.scores(request.text)
            lexical = _best({k: score for k, score in scores.items() if k in chunks}, request.depth)
        ranking = Ranking.of(request, dense, lexical)
        return ranking.passages(ranking.best(request.limit), chunks)

    async def get_chunks(
        self, collection: str, document_id: str, version: int, numbers: Sequence[int]
    ) -> list[Chunk]:
        wanted = set(numbers)
        found = [
            chunk
            for chunk in self._shelf(collection).chunks.values()
            if chunk.document.id == document_id
            and chunk.document.version == version
            and chunk.number in wanted
        ]
        return sorted(found, key=lambda chunk: chunk.number)

    async def find_documents(self, collection: str, document_id: str) -> list[Document]:
        found = [
            d for d in _documents(self._shelf(collection).chunks.values()) if d.id == document_id
        ]
        return sorted(found, key=lambda document: document.version)

    async def list_documents(
        self,
        collection: str,
        *,
        offset: int = 0,
        limit: int = 100,
        hidden_versions: frozenset[int] = frozenset(),
    ) -> list[Document]:
        found = _documents(self._shelf(collection).visible(hidden_versions).values())
        found.sort(key=lambda document: (document.title, document.id, document.version))
        return found[offset : offset + limit]

    async def count_chunks(
        self, collection: str, hidden_versions: frozenset[int] = frozenset()
    ) -> int:
        return len(self._shelf(collection).visible(hidden_versions))

    async def count_documents(
        self, collection: str, hidden_versions: frozenset[int] = frozenset()
    ) -> int:
        return len(_documents(self._shelf(collection).visible(hidden_versions).values()))

    async def ping(self) -> None:
        """Memory always answers."""

    async def close(self) -> None:
        """Nothing to give back."""

    def _shelf(self, name: str) -> _Shelf:
        if name not in self._shelves:
            raise CollectionNotFound(f"there is no collection {name}", collection=name)
        return self._shelves[name]


def _documents(chunks: Iterable[Chunk]) -> list[Document]:
    return [chunk.document for chunk in chunks if chunk.number == 0]


def _best(scores: dict[str, float], count: int) -> dict[str, float]:
    return {key: scores[key] for key in sorted(scores, key=lambda k: (-scores[k], k))[:count]}


def _unit(vector: Vectors) -> Vectors:
    length = float(np.linalg.norm(vector))
    return (vector / length if length else vector).astype(np.float32)
