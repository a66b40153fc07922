"""One file: what is written when, and what a fault in the middle leaves."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ingestion_room import COLLECTION, HASTY, LIMITS, IngestionRoom, texts, until

from deployments.contracts.jobs import FileState, Snapshot
from deployments.contracts.retrieval import SearchMode, SearchRequest
from deployments.errors import EmbeddingUnavailable, JobCancelled, StateUnavailable
from deployments.ingestion.chunking import Chunker
from deployments.ingestion.file_ingestion import FileIngestion
from deployments.ingestion.ranges import FileWork
from deployments.ingestion.readers import registry
from deployments.ingestion.readers.document import ExtractedDocument, PageRange, ReadLimits


class GatedEmbedder:
    """Answers when it is let to; counts the calls that wait at once."""

    def __init__(self, fails_at: int = 0) -> None:
        self.waiting = self.most = self.calls = 0
        self.gate = asyncio.Event()
        self._fails_at = fails_at

    async def embed(self, sent: Any, lane: Any) -> Any:
        self.calls += 1
        number = self.calls
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
        finally:
            self.waiting -= 1
        if self._fails_at and number >= self._fails_at:
            raise EmbeddingUnavailable("out")
        return np.ones((len(sent), 8), np.float32)


async def work_on(room: IngestionRoom, words: int = 640) -> FileWork:
    job = await room.submit(texts(1, words=words))
    lease = await room.lock.acquire(COLLECTION, "test")
    assert lease is not None
    await room.jobs.start(job.id, lease)
    return FileWork(job.id, COLLECTION, (await room.jobs.files(job.id))[0].spec, lease)


def ingestion(room: IngestionRoom, embedder: Any, **changes: Any) -> FileIngestion:
    made = FileIngestion(
        store=room.store,
        jobs=room.jobs,
        visibility=room.visibility,
        embedder=embedder,
        blobs=room.blobs,
        read=room.read,
        chunker=Chunker(lambda _: 1, LIMITS),
        batch=2,
        embed_calls=3,
        call=HASTY,
    )
    return replace(made, **changes)


async def test_a_large_file_is_embedded_in_a_bounded_number_of_calls_at_once(room):
    work, embedder = await work_on(room), GatedEmbedder()
    running = asyncio.create_task(ingestion(room, embedder).run(work))
    await until(lambda: embedder.waiting == 3)
    embedder.gate.set()
    await running
    assert (embedder.most, embedder.calls) == (3, 10)
    chunks = sorted(await room.visible(), key=lambda chunk: chunk.number)
    assert [chunk.number for chunk in chunks] == list(range(20))
    assert " ".join(chunk.text for chunk in chunks) == texts(1, words=640)["file-0.txt"]


@pytest.mark.parametrize("fails_at", [1, 4, 9])
async def test_a_failed_batch_ends_the_attempt_and_shows_nothing(room, fails_at):
    work, embedder = await work_on(room), GatedEmbedder(fails_at)
    embedder.gate.set()
    before = asyncio.all_tasks()
    with pytest.raises(EmbeddingUnavailable):
        await ingestion(room, embedder).run(work)
    assert await room.visible() == []
    assert asyncio.all_tasks() == before
    embedder._fails_at = 0
    await ingestion(room, embedder).run(work)
    assert len(await room.visible()) == 20


async def test_a_cancelled_attempt_takes_its_calls_along(room):
    work, embedder = await work_on(room), GatedEmbedder()
    running = asyncio.create_task(ingestion(room, embedder).run(work))
    await until(lambda: embedder.waiting == 3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert embedder.waiting == 0


async def test_a_cancelled_job_stops_the_file_at_its_next_report(room):
    work, embedder = await work_on(room), GatedEmbedder()
    running = asyncio.create_task(ingestion(room, embedder).run(work))
    await until(lambda: embedder.waiting == 3)
    await room.jobs.cancel(work.job_id)
    embedder.gate.set()
    with pytest.raises(JobCancelled):
        await running
    assert await room.visible() == []
    assert embedder.calls < 10


def read_rows(path: Path, content_type: str, name: str, pages: PageRange) -> ExtractedDocument:
    return registry.read(path, content_type, name, ReadLimits(), pages)


async def test_a_row_of_a_table_is_found_by_its_columns(room):
    csv = "name,wingspan\nkestrel,76\nbuzzard,118\n"
    job = await room.submit({"birds.csv": csv}, content_type="text/csv")
    lease = await room.lock.acquire(COLLECTION, "test")
    await room.jobs.start(job.id, lease)
    work = FileWork(job.id, COLLECTION, (await room.jobs.files(job.id))[0].spec, lease)
    await ingestion(room, room.embedder, read=read_rows).run(work)

    async def found(narrowed: dict[str, object]) -> list[str]:
        request = SearchRequest(COLLECTION, "wingspan", None, SearchMode.LEXICAL, filter=narrowed)
        return [passage.chunk.text for passage in await room.store.search(request)]

    assert await found({"field": "wingspan", "gt": 100}) == ["name: buzzard\nwingspan: 118"]
    assert len(await found({"field": "kind", "eq": "test"})) == 2
    [document] = await room.store.list_documents(COLLECTION)
    assert document.metadata == {"kind": "test"}, "a row's columns are not its document's"


async def test_an_uncommitted_version_is_no_reason_to_leave_a_file_alone(room):
    """With Redis out a snapshot hides nothing: what broke off would pass for the document."""
    work, embedder = await work_on(room), GatedEmbedder(fails_at=5)
    embedder.gate.set()
    with pytest.raises(EmbeddingUnavailable):
        await ingestion(room, embedder).run(work)
    assert room.stored_versions()

    class Blind:
        async def snapshot(self, collection: str) -> Snapshot:
            return Snapshot(0, frozenset(), stale=True)

    with pytest.raises(StateUnavailable):
        await ingestion(room, room.embedder, visibility=Blind()).run(work)
    assert (await room.jobs.files(work.job_id))[0].state is FileState.PROCESSING
