"""One file, from its staged bytes to its committed chunks.

Nothing that a search can see changes before the commit: chunks are written under a version that
searches hide, and one atomic step shows them and hides what they replace. So an attempt may die
anywhere, and the next one starts the file afresh.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

from deployments.contracts.embedding import Embedder, Lane, Vectors
from deployments.contracts.jobs import FileSpec, JobStore, Lease, Visibility
from deployments.contracts.retrieval import Chunk, Document, VectorStore
from deployments.errors import (
    ContextLengthExceeded,
    DocumentError,
    EmptyDocument,
    InvalidRequest,
    JobCancelled,
    StateUnavailable,
)
from deployments.ingestion.blobs import BlobStore
from deployments.ingestion.chunking import ChunkDraft, Chunker, chunk_id
from deployments.ingestion.readers.document import ExtractedDocument
from deployments.resilience.retries import CALL, Retry

_FAULTS_OF_THE_FILE = (DocumentError, InvalidRequest, ContextLengthExceeded)
"""The reader, the store or the model refuses what the file holds."""


@dataclass(frozen=True, slots=True)
class FileWork:
    """One attempt at one file of a job, as plain data: it crosses processes."""

    job_id: str
    collection: str
    spec: FileSpec
    lease: Lease


class FileReader(Protocol):
    """Extracts a file's text where a hostile file can do no harm. Raises DocumentError."""

    def __call__(self, path: Path, content_type: str, name: str) -> ExtractedDocument: ...


@dataclass(frozen=True, slots=True)
class FileIngestion:
    """Takes files in, `batch` chunks at a time; `embed_calls` batches are being embedded at once.

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
    call: Retry = CALL

    async def run(self, work: FileWork) -> None:
        """Do the file's work to its end: DONE, UNCHANGED or FAILED with the file's own error.

        Raises:
            JobCancelled: the job was cancelled meanwhile.
            LeaseLost: another supervisor holds the collection.
            IllegalTransition: the file has ended, or another attempt came in between.
            RagserveError: anything that is not the file's own fault.
        """
        job_id, number, lease = work.job_id, work.spec.number, work.lease
        present = await self.call.call(lambda: self._present(work))
        if any(_same(document, work.spec) for document in present):
            await self.call.call(lambda: self.jobs.skip_file(job_id, number, lease))
            return
        try:
            await self._ingest(work, replaces=[document.version for document in present])
        except _FAULTS_OF_THE_FILE as error:
            code, message = error.code, error.message
            await self.call.call(lambda: self.jobs.fail_file(job_id, number, lease, code, message))

    async def _present(self, work: FileWork) -> list[Document]:
        """The versions of this document that searches can see."""
        snapshot = await self.visibility.snapshot(work.collection)
        if snapshot.stale:
            # It would take what was never committed for the document.
            raise StateUnavailable("The state store cannot be reached.")
        found = await self.store.find_documents(work.collection, work.spec.document_id)
        return [document for document in found if document.version not in snapshot.hidden_versions]

    async def _ingest(self, work: FileWork, replaces: Sequence[int]) -> None:
        spec = work.spec
        extracted = await asyncio.to_thread(self._extract, spec)
        drafts = await asyncio.to_thread(self.chunker.chunk, extracted)
        if not drafts:
            raise EmptyDocument("The file holds no text.")
        # Only now: a version hides from every search for a day if its attempt breaks off.
        version = await self.call.call(
            lambda: self.jobs.begin_file(work.job_id, spec.number, work.lease)
        )
        document = Document(
            id=spec.document_id,
            title=spec.title or extracted.title or spec.name,
            source=spec.source,
            content_type=spec.content_type,
            content_hash=spec.content_hash,
            size_bytes=spec.size_bytes,
            chunk_count=len(drafts),
            ingested_at_s=time.time(),
            version=version,
            metadata={**extracted.metadata, **spec.metadata},
        )
        await self._write(work, document, drafts)
        await self.call.call(
            lambda: self.jobs.commit_file(
                work.job_id,
                spec.number,
                work.lease,
                version=version,
                chunks=len(drafts),
                replaces=replaces,
            )
        )

    def _extract(self, spec: FileSpec) -> ExtractedDocument:
        with self.blobs.open_local(spec.blob_url) as path:
            return self.read(path, spec.content_type, spec.name)

    async def _write(
        self, work: FileWork, document: Document, drafts: Sequence[ChunkDraft]
    ) -> None:
        """Embed and store batch after batch; others are embedded while one is being stored."""
        done = 0
        await self._report(work, done, len(drafts))
        async with aclosing(self._embedded(drafts, document.title)) as batches:
            async for batch, vectors in batches:
                chunks = [_chunk(work, document, draft) for draft in batch]
                await self._upsert(work.collection, chunks, vectors)
                done += len(batch)
                await self._report(work, done, len(drafts))

    async def _embedded(
        self, drafts: Sequence[ChunkDraft], title: str
    ) -> AsyncGenerator[tuple[Sequence[ChunkDraft], Vectors], None]:
        """Batches with their vectors, in order; those behind the first are under way with it."""
        batches = _batches(drafts, self.batch)
        ahead = deque(self._begin(batch, title) for batch in islice(batches, self.embed_calls))
        try:
            while ahead:
                batch, embedding = ahead[0]
                vectors = await embedding
                ahead.popleft()
                ahead.extend(self._begin(following, title) for following in islice(batches, 1))
                yield batch, vectors
        finally:
            for _, embedding in ahead:
                embedding.cancel()
            await asyncio.gather(*(embedding for _, embedding in ahead), return_exceptions=True)

    def _begin(
        self, batch: Sequence[ChunkDraft], title: str
    ) -> tuple[Sequence[ChunkDraft], asyncio.Task[Vectors]]:
        texts = [self.chunker.embedding_text(draft, title) for draft in batch]
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


def _chunk(work: FileWork, document: Document, draft: ChunkDraft) -> Chunk:
    return Chunk(
        # The version is part of the content's identity here: an attempt never overwrites the
        # chunks of another, so that each can be hidden and swept by itself.
        id=chunk_id(
            work.collection,
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
