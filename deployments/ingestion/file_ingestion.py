"""What a worker does of a file: all of it, or one step of a large one.

Nothing that a search can see changes before the commit: chunks are written under a version that
searches hide, and one atomic step shows them and hides what they replace. So an attempt may die
anywhere, and the next one starts the file afresh.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Protocol

from deployments.contracts.embedding import Embedder, Lane, Vectors
from deployments.contracts.jobs import FileSpec, JobStore, Visibility
from deployments.contracts.retrieval import Chunk, Document, VectorStore
from deployments.errors import (
    EmptyDocument,
    JobCancelled,
    StateUnavailable,
)
from deployments.ingestion.blobs import BlobStore
from deployments.ingestion.chunking import ChunkDraft, Chunker, chunk_id
from deployments.ingestion.ranges import (
    FAULTS_OF_THE_FILE,
    FileWork,
    Reading,
    ReadRange,
    Step,
    WriteRange,
    document_of,
)
from deployments.ingestion.readers.document import ExtractedDocument, PageRange
from deployments.ingestion.settings import RANGE_CHUNKS, RANGE_PAGES
from deployments.resilience.retries import CALL, Retry

Done = tuple[Reading | None, list[ChunkDraft]]


class FileReader(Protocol):
    """Extracts a file's text where a hostile file can do no harm. Raises DocumentError."""

    def __call__(
        self, path: Path, content_type: str, name: str, pages: PageRange
    ) -> ExtractedDocument: ...


@dataclass(frozen=True, slots=True)
class FileIngestion:
    """Takes files in, `batch` chunks at a time; `embed_calls` batches are being embedded at once.

    A file of more than `range_pages` pages or `range_chunks` chunks is large.

    Every call to another service may be sent again: `call` says how often, so that a moment's
    outage does not cost what was already embedded.
    """

    store: VectorStore
    jobs: JobStore
    visibility: Visibility
    embedder: Embedder
    blobs: BlobStore
    read: FileReader
    chunker: Chunker
    batch: int
    embed_calls: int = 4
    range_pages: int = RANGE_PAGES
    range_chunks: int = RANGE_CHUNKS
    call: Retry = CALL

    async def run(self, step: Step, drafts: Sequence[ChunkDraft] = ()) -> Done:
        """Do one step. A write is given the drafts of its reading.

        A file that is not large is brought to its end: DONE, UNCHANGED or FAILED with the file's
        own error. Of a large one comes what was read of it, to be written in further steps.

        Raises:
            DocumentError, InvalidRequest, ContextLengthExceeded: the file's own fault, found in a
                later step of a large file.
            JobCancelled: the job was cancelled meanwhile.
            LeaseLost: another supervisor holds the collection.
            IllegalTransition: the file has ended, or another attempt came in between.
            RagserveError: anything that is not the file's own fault.
        """
        match step:
            case FileWork():
                return await self._take_up(step)
            case ReadRange(work, first_page):
                return await self._read(work.spec, first_page)
            case WriteRange():
                await self._write_range(step, drafts)
                return None, []

    async def _take_up(self, work: FileWork) -> Done:
        job_id, number, lease = work.job_id, work.spec.number, work.lease
        present = await self.call.call(lambda: self._present(work))
        if any(_same(document, work.spec) for document in present):
            await self.call.call(lambda: self.jobs.skip_file(job_id, number, lease))
            return None, []
        try:
            reading, drafts = await self._read(work.spec, 0)
            reading = replace(reading, replaces=tuple(document.version for document in present))
            if reading.pages > self.range_pages or len(drafts) > self.range_chunks:
                return reading, drafts
            if not drafts:
                raise EmptyDocument("The file holds no text.")
            await self._ingest(work, reading, drafts)
        except FAULTS_OF_THE_FILE as error:
            code, message = error.code, error.message
            await self.call.call(lambda: self.jobs.fail_file(job_id, number, lease, code, message))
        return None, []

    async def _present(self, work: FileWork) -> list[Document]:
        """The versions of this document that searches can see."""
        snapshot = await self.visibility.snapshot(work.collection)
        if snapshot.stale:
            # It would take what was never committed for the document.
            raise StateUnavailable("The state store cannot be reached.")
        found = await self.store.find_documents(work.collection, work.spec.document_id)
        return [document for document in found if document.version not in snapshot.hidden_versions]

    async def _read(self, spec: FileSpec, first_page: int) -> tuple[Reading, list[ChunkDraft]]:
        pages = PageRange(first_page, self.range_pages)
        extracted = await asyncio.to_thread(self._extract, spec, pages)
        drafts = await asyncio.to_thread(self.chunker.chunk, extracted)
        reading = Reading(
            title=extracted.title,
            chunks=len(drafts),
            characters=len(extracted.text),
            pages=extracted.pages,
            range_pages=self.range_pages,
            metadata=extracted.metadata,
        )
        return reading, drafts

    def _extract(self, spec: FileSpec, pages: PageRange) -> ExtractedDocument:
        with self.blobs.open_local(spec.blob_url) as path:
            return self.read(path, spec.content_type, spec.name, pages)

    async def _ingest(self, work: FileWork, reading: Reading, drafts: Sequence[ChunkDraft]) -> None:
        spec, total = work.spec, len(drafts)
        # Only now: a version hides from every search for a day if its attempt breaks off.
        version = await self.call.call(
            lambda: self.jobs.begin_file(work.job_id, spec.number, work.lease)
        )
        document = document_of(spec, reading, total, version)
        done = 0
        async with aclosing(self._written(work.collection, document, drafts)) as batches:
            # The commit itself reports the last batch, for most files the only one.
            if total > self.batch:
                await self._report(work, done, total)
            async for written in batches:
                done += written
                if done < total:
                    await self._report(work, done, total)
        await self.call.call(
            lambda: self.jobs.commit_file(
                work.job_id,
                spec.number,
                work.lease,
                version=version,
                chunks=total,
                replaces=reading.replaces,
            )
        )

    async def _write_range(self, step: WriteRange, drafts: Sequence[ChunkDraft]) -> None:
        placed = step.placed(drafts)
        async with aclosing(self._written(step.work.collection, step.document, placed)) as batches:
            async for _ in batches:
                pass

    async def _written(
        self, collection: str, document: Document, drafts: Sequence[ChunkDraft]
    ) -> AsyncGenerator[int, None]:
        """Store batch after batch, yielding sizes; others are embedded while one is stored."""
        async with aclosing(self._embedded(drafts)) as batches:
            async for batch, vectors in batches:
                chunks = [_chunk(collection, document, draft) for draft in batch]
                await self._upsert(collection, chunks, vectors)
                yield len(batch)

    async def _embedded(
        self, drafts: Sequence[ChunkDraft]
    ) -> AsyncGenerator[tuple[Sequence[ChunkDraft], Vectors], None]:
        """Batches with their vectors, in order; those behind the first are under way with it."""
        batches = _batches(drafts, self.batch)
        ahead = deque(self._begin(batch) for batch in islice(batches, self.embed_calls))
        try:
            while ahead:
                batch, embedding = ahead[0]
                vectors = await embedding
                ahead.popleft()
                ahead.extend(self._begin(following) for following in islice(batches, 1))
                yield batch, vectors
        finally:
            for _, embedding in ahead:
                embedding.cancel()
            await asyncio.gather(*(embedding for _, embedding in ahead), return_exceptions=True)

    def _begin(
        self, batch: Sequence[ChunkDraft]
    ) -> tuple[Sequence[ChunkDraft], asyncio.Task[Vectors]]:
        texts = [self.chunker.embedding_text(draft) for draft in batch]
        return batch, asyncio.create_task(
            self.call.call(lambda: self.embedder.embed(texts, Lane.INGESTION))
        )

    async def _upsert(self, collection: str, chunks: Sequence[Chunk], vectors: Vectors) -> None:
        await self.call.call(lambda: self.store.upsert(collection, chunks, vectors))

    async def _report(self, work: FileWork, done: int, total: int) -> None:
        job = await self.call.call(
            lambda: self.jobs.report_file(
                work.job_id, work.spec.number, work.lease, chunks_done=done, chunks_total=total
            )
        )
        if job.cancel_requested:
            raise JobCancelled


def _same(document: Document, spec: FileSpec) -> bool:
    """Same bytes, name and metadata: the reader's own metadata follows from the bytes."""
    return (
        document.content_hash == spec.content_hash
        and document.source == spec.source
        and all(document.metadata.get(name) == value for name, value in spec.metadata.items())
    )


def _batches(drafts: Sequence[ChunkDraft], size: int) -> Iterator[Sequence[ChunkDraft]]:
    for start in range(0, len(drafts), size):
        yield drafts[start : start + size]


def _chunk(collection: str, document: Document, draft: ChunkDraft) -> Chunk:
    return Chunk(
        # The version is part of the content's identity here: an attempt never overwrites the
        # chunks of another, so that each can be hidden and swept by itself.
        id=chunk_id(
            collection,
            document.id,
            f"{document.content_hash}:{document.version}",
            draft.number,
        ),
        number=draft.number,
        text=draft.text,
        document=document,
        heading=draft.heading,
        page=draft.page,
        start_char=draft.start_char,
        end_char=draft.end_char,
        metadata=draft.metadata,
    )
