"""A large file's work in pieces, as plain data: each step of it is a task of its own.

A file begins as one step (`FileWork`). Where it turns out to be large, that step hands back what
it has read; further steps read the pages behind it (`ReadRange`), and once it is known how many
chunks there are in all, others embed and store them, a stretch each (`WriteRange`). Every chunk
is what it would be had one process read the file from end to end: pages share no chunk, and a
stretch is told what lies before it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from deployments.contracts.jobs import FileSpec, Lease
from deployments.contracts.retrieval import Document, Metadata
from deployments.errors import (
    ContextLengthExceeded,
    DocumentError,
    DocumentTooLarge,
    EmptyDocument,
    InvalidRequest,
)
from deployments.ingestion.chunking import ChunkDraft
from deployments.ingestion.readers.document import SECTION_SEPARATOR, ReadLimits

FAULTS_OF_THE_FILE = (DocumentError, InvalidRequest, ContextLengthExceeded)
"""The reader, the store or the model refuses what the file holds."""

Drafts: TypeAlias = Any
"""Chunks as whoever runs the steps keeps them between two of them; nobody else looks inside."""


@dataclass(frozen=True, slots=True)
class FileWork:
    """One attempt at one file of a job, as plain data: it crosses processes."""

    job_id: str
    collection: str
    spec: FileSpec
    lease: Lease


@dataclass(frozen=True, slots=True)
class ReadRange:
    """Read a stretch of a file's pages, from `first_page` (counted from 0) on."""

    work: FileWork
    first_page: int


@dataclass(frozen=True, slots=True)
class WriteRange:
    """Embed and store the drafts `start` to `stop` of a reading.

    `number` and `characters` are the document's chunks and characters before the reading.
    """

    work: FileWork
    document: Document
    start: int
    stop: int
    number: int
    characters: int
    drafts: Drafts = None

    def placed(self, drafts: Sequence[ChunkDraft]) -> list[ChunkDraft]:
        """Its share of the reading's drafts, counted as in the whole document."""
        return [
            replace(
                draft,
                number=draft.number + self.number,
                start_char=draft.start_char + self.characters,
                end_char=draft.end_char + self.characters,
            )
            for draft in drafts[self.start : self.stop]
        ]


Step: TypeAlias = FileWork | ReadRange | WriteRange


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of a large file. `pages` are the whole file's, `range_pages` those of a step.

    `replaces` are the versions of the document that searches saw when the file was begun.
    """

    title: str
    chunks: int
    characters: int
    pages: int = 0
    range_pages: int = 0
    metadata: Metadata = field(default_factory=dict)
    replaces: tuple[int, ...] = ()
    drafts: Drafts = None

    def rest(self, work: FileWork) -> list[ReadRange]:
        """The steps that read what comes behind this, the file's first reading."""
        if not self.range_pages:
            return []
        pages = range(self.range_pages, self.pages, self.range_pages)
        return [ReadRange(work, page) for page in pages]


def document_of(spec: FileSpec, first: Reading, chunks: int, version: int) -> Document:
    """The document that a file becomes."""
    return Document(
        id=spec.document_id,
        title=spec.title or first.title or spec.name,
        source=spec.source,
        content_type=spec.content_type,
        content_hash=spec.content_hash,
        size_bytes=spec.size_bytes,
        chunk_count=chunks,
        ingested_at_s=time.time(),
        version=version,
        metadata={**first.metadata, **spec.metadata},
    )


def demand_text(readings: Sequence[Reading], limits: ReadLimits) -> None:
    """Raises EmptyDocument or DocumentTooLarge for what no single reading can know."""
    if not any(reading.chunks for reading in readings):
        raise EmptyDocument(
            "The file holds no text: its pages seem to be scanned images; run OCR over it first."
        )
    if sum(reading.characters for reading in readings) > limits.max_characters:
        raise DocumentTooLarge(
            f"The file holds more than {limits.max_characters:,} characters of text.",
            limit_characters=limits.max_characters,
        )


def write_ranges(
    work: FileWork, document: Document, readings: Sequence[Reading], size: int
) -> Iterator[WriteRange]:
    """The steps that write all of a file, at most `size` chunks each."""
    number = characters = 0
    for reading in readings:
        for start in range(0, reading.chunks, size):
            stop = min(start + size, reading.chunks)
            yield WriteRange(work, document, start, stop, number, characters, reading.drafts)
        number += reading.chunks
        if reading.characters:
            characters += reading.characters + len(SECTION_SEPARATOR)
