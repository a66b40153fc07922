"""Chunks, the documents they make up, and the store that finds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeAlias

from deployments.contracts.embedding import EmbeddingModel, Vectors

Scalar: TypeAlias = str | int | float | bool
Metadata: TypeAlias = Mapping[str, Scalar | list[Scalar]]


@dataclass(frozen=True, slots=True)
class Collection:
    """A named set of documents embedded by one model."""

    name: str
    model: EmbeddingModel
    description: str = ""
    created_at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Document:
    """One document as its chunk 0 describes it."""

    id: str
    title: str
    source: str
    content_type: str
    content_hash: str
    size_bytes: int
    chunk_count: int
    ingested_at_s: float
    version: int
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage of a document: the unit that is embedded, found and cited.

    `start_char` and `end_char` bound the passage in the document's extracted text. `version` is
    the write it belongs to: searches hide the versions that are not committed.
    """

    id: str
    number: int
    text: str
    document: Document
    heading: str = ""
    page: int | None = None
    start_char: int = 0
    end_char: int = 0
    metadata: Metadata = field(default_factory=dict)
    """The passage's own: the columns of the table row that it is."""

    @property
    def filterable(self) -> Metadata:
        """What a filter sees: where both have a key, the document's value counts."""
        return {**self.metadata, **self.document.metadata}


class SearchMode(StrEnum):
    """Which index answers a search."""

    HYBRID = "hybrid"
    DENSE = "dense"
    LEXICAL = "lexical"


class Fusion(StrEnum):
    """How a hybrid search merges its two rankings."""

    RRF = "rrf"
    WEIGHTED = "weighted"


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One search of one collection.

    `vector` has the collection's dimension and may be None only in lexical mode. `filter` is a
    filter expression in ragserve's own typed language (`deployments/retrieval/filters.py`).
    `hidden_versions` are left out of the results.
    """

    collection: str
    text: str
    vector: Vectors | None
    mode: SearchMode = SearchMode.HYBRID
    limit: int = 5
    candidates: int = 30
    fusion: Fusion = Fusion.WEIGHTED
    lexical_weight: float = 0.2
    filter: Mapping[str, object] | None = None
    hidden_versions: frozenset[int] = frozenset()

    @property
    def depth(self) -> int:
        """How many chunks each index is asked for."""
        if self.mode is SearchMode.HYBRID:
            return max(self.limit, self.candidates)
        return self.limit


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk found by a search. `score` orders the results; its parts say where it came from.

    `collection` is set where several may have been searched.
    """

    chunk: Chunk
    score: float
    dense_score: float | None = None
    lexical_score: float | None = None
    rerank_score: float | None = None
    collection: str = ""


class VectorStore(Protocol):
    """Holds the chunks. Names are ragserve's; an adapter maps them to its own.

    Every method raises `StoreUnavailable` when the store cannot be reached, and those that take
    a collection raise `CollectionNotFound`.
    """

    async def create_collection(self, collection: Collection) -> None:
        """Create it, empty and searchable. Raises CollectionExists."""
        ...

    async def drop_collection(self, name: str) -> None:
        """Drop it with all its chunks."""
        ...

    async def get_collection(self, name: str) -> Collection: ...

    async def list_collections(self) -> list[Collection]: ...

    async def upsert(self, collection: str, chunks: Sequence[Chunk], vectors: Vectors) -> None:
        """Write chunks with their vectors; writing a chunk id again replaces it."""
        ...

    async def delete_version(self, collection: str, version: int) -> None:
        """Delete every chunk of one version. Deleting nothing is fine."""
        ...

    async def search(self, request: SearchRequest) -> list[Passage]:
        """The best `limit` passages, best first."""
        ...

    async def get_chunks(
        self, collection: str, document_id: str, version: int, numbers: Sequence[int]
    ) -> list[Chunk]:
        """Chunks of one version of a document by their numbers, in order; missing ones left out."""
        ...

    async def find_documents(self, collection: str, document_id: str) -> list[Document]:
        """Every version of one document that the store holds, oldest first."""
        ...

    async def list_documents(
        self,
        collection: str,
        *,
        offset: int = 0,
        limit: int = 100,
        hidden_versions: frozenset[int] = frozenset(),
    ) -> list[Document]: ...

    async def count_chunks(
        self, collection: str, hidden_versions: frozenset[int] = frozenset()
    ) -> int: ...

    async def count_documents(
        self, collection: str, hidden_versions: frozenset[int] = frozenset()
    ) -> int: ...

    async def ping(self) -> None:
        """Return when the store answers."""
        ...

    async def close(self) -> None: ...
