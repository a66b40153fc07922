"""Chunks and vectors to put into a store."""

from __future__ import annotations

import numpy as np

from deployments.contracts.embedding import EmbeddingModel, Vectors
from deployments.contracts.retrieval import Chunk, Collection, Document, Metadata

DIMENSION = 8
MODEL = EmbeddingModel("test-model", DIMENSION, 256)


def collection(name: str) -> Collection:
    return Collection(name, MODEL, description="what the tests wrote", created_at_s=12.5)


def document(name: str, version: int = 1, chunks: int = 1, **changes: object) -> Document:
    fields: dict[str, object] = {
        "id": name,
        "title": f"Title of {name}",
        "source": f"{name}.md",
        "content_type": "text/markdown",
        "content_hash": f"hash-{name}-{version}",
        "size_bytes": 100,
        "chunk_count": chunks,
        "ingested_at_s": 1_700_000_000.25,
        "version": version,
        "metadata": {},
    }
    return Document(**{**fields, **changes})  # type: ignore[arg-type]


def chunk(of: Document, number: int = 0, text: str = "some text", page: int | None = None) -> Chunk:
    return Chunk(
        id=f"{of.id}-{of.version}-{number}",
        number=number,
        text=text,
        document=of,
        heading=f"Heading {number}",
        page=page,
        start_char=number * 10,
        end_char=number * 10 + len(text),
    )


def axis(number: int, lean: float = 0.0) -> Vectors:
    """A unit vector along one axis, leaning towards the next."""
    vector = np.zeros(DIMENSION, np.float32)
    vector[number % DIMENSION] = 1.0
    vector[(number + 1) % DIMENSION] = lean
    return vector / np.float32(np.linalg.norm(vector))


def stacked(*vectors: Vectors) -> Vectors:
    return np.stack(vectors)


def with_metadata(name: str, metadata: Metadata, **changes: object) -> Chunk:
    return chunk(document(name, metadata=metadata, **changes))
