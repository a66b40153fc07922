"""A chunk as a Milvus row, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from deployments.contracts.embedding import Vectors
from deployments.contracts.retrieval import Chunk, Document
from deployments.retrieval.expressions import NO_PAGE
from deployments.retrieval.facets import facets
from deployments.retrieval.lexical import indexed_words
from deployments.retrieval.limits import MAX_TEXT_BYTES

COLUMNS: Final = (
    "id",
    "document_id",
    "version",
    "number",
    "text",
    "heading",
    "page",
    "start_char",
    "end_char",
    "title",
    "source",
    "content_type",
    "content_hash",
    "size_bytes",
    "chunk_count",
    "ingested_at",
    "metadata",
    "chunk_metadata",
)
"""Everything of a row but its vectors, words and facets: what a chunk is made from again."""


def to_row(chunk: Chunk, vector: Vectors) -> dict[str, Any]:
    """One row; the facets become dynamic fields beside the columns."""
    document = chunk.document
    return {
        **facets(chunk.filterable),
        "id": chunk.id,
        "document_id": document.id,
        "version": document.version,
        "number": chunk.number,
        "text": chunk.text,
        "words": _words(chunk),
        "dense": vector,
        "heading": chunk.heading,
        "page": NO_PAGE if chunk.page is None else chunk.page,
        "start_char": chunk.start_char,
        "end_char": chunk.end_char,
        "title": document.title,
        "source": document.source,
        "content_type": document.content_type,
        "content_hash": document.content_hash,
        "size_bytes": document.size_bytes,
        "chunk_count": document.chunk_count,
        "ingested_at": document.ingested_at_s,
        "metadata": dict(document.metadata),
        "chunk_metadata": dict(chunk.metadata),
    }


def _words(chunk: Chunk) -> str:
    words = indexed_words(chunk.document.title, chunk.heading, chunk.text)
    return words.encode()[:MAX_TEXT_BYTES].decode(errors="ignore")


def to_chunk(row: Mapping[str, Any]) -> Chunk:
    """The chunk that a row of `COLUMNS` holds."""
    page = row["page"]
    return Chunk(
        id=row["id"],
        number=row["number"],
        text=row["text"],
        document=to_document(row),
        heading=row["heading"],
        page=None if page == NO_PAGE else page,
        start_char=row["start_char"],
        end_char=row["end_char"],
        metadata=row["chunk_metadata"],
    )


def to_document(row: Mapping[str, Any]) -> Document:
    """The document that a row of `COLUMNS` belongs to."""
    return Document(
        id=row["document_id"],
        title=row["title"],
        source=row["source"],
        content_type=row["content_type"],
        content_hash=row["content_hash"],
        size_bytes=row["size_bytes"],
        chunk_count=row["chunk_count"],
        ingested_at_s=row["ingested_at"],
        version=row["version"],
        metadata=row["metadata"],
    )
