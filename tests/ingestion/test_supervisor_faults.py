"""What goes wrong around a supervisor, and what its jobs come to."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ingestion_room import (
    COLLECTION,
    QUICK,
    Process,
    states,
    texts,
    until,
)

from deployments.contracts.embedding import EmbeddingModel
from deployments.contracts.jobs import Claim, FileState, JobState
from deployments.contracts.retrieval import Collection
from deployments.errors import (
    IllegalTransition,
    InvalidRequest,
    LeaseLost,
    StoreUnavailable,
    WorkerDied,
)
from deployments.state.memory.queue import MemoryJobQueue

pytestmark = pytest.mark.usefixtures("no_task_is_left_behind")


def lose(blob_url: str) -> None:
    Path(blob_url.removeprefix("file://")).unlink()


async def test_a_worker_that_dies_once_is_started_again(room):
    deaths = {"file-0.txt": 2}

    async def mortal(work: Any, run: Any) -> None:
        if deaths.get(work.spec.name, 0):
            deaths[work.spec.name] -= 1
            raise WorkerDied
        await run()

    await room.submit(texts(2))
    async with room.running(script=mortal):
        job = await room.ended()
    assert (job.state, job.files_done) == (JobState.COMPLETED, 2)


async def test_a_file_that_kills_every_worker_fails_alone(room):
    tries = 0

    async def deadly(work: Any, run: Any) -> None:
        nonlocal tries
        if work.spec.number == 1:
            tries += 1
            await room.jobs.begin_file(work.job_id, 1, work.lease)
            raise WorkerDied
        await run()

    await room.submit(texts(3))
    async with room.running(script=deadly):
        job = await room.ended()
    assert (job.state, job.files_done, job.files_failed, tries) == (JobState.COMPLETED, 2, 1, 3)
    assert (await room.jobs.files("job"))[1].error_code == "worker_died"
    assert {source for source, _, _ in await room.chunks()} == {"file-0.txt", "file-2.txt"}


async def test_a_worker_that_dies_after_its_commit_has_done_its_work(room):
    async def dies_too_late(work: Any, run: Any) -> None:
        await run()
        raise WorkerDied

    await room.submit(texts(2))
    async with room.running(script=dies_too_late):
        job = await room.ended()
    assert (job.state, job.files_done, job.files_unchanged) == (JobState.COMPLETED, 2, 0)
    assert room.wasted == []


async def test_an_attempt_that_another_came_in_between_is_made_again(room):
    raised = []

    async def superseded(work: Any, run: Any) -> None:
        if not raised:
            raised.append(True)
            raise IllegalTransition
        await run()

    await room.submit(texts(1))
    async with room.running(script=superseded):
        assert (await room.ended()).files_done == 1


async def test_an_outage_is_waited_for_and_the_job_goes_on(room):
    back = asyncio.Event()

    async def out(work: Any, run: Any) -> None:
        if not back.is_set():
            raise StoreUnavailable
        await run()

    await room.submit(texts(2))
    async with room.running(script=out):
        await asyncio.sleep(0.1)
        assert (await room.jobs.get("job")).state is JobState.PROCESSING
        back.set()
        assert (await room.ended()).files_done == 2


async def test_an_outage_longer_than_the_patience_fails_the_job_with_its_code(room):
    async def out(work: Any, run: Any) -> None:
        raise StoreUnavailable("the store is out")

    hasty = replace(QUICK, outage=replace(QUICK.outage, patience_s=0.02))
    await room.submit(texts(2))
    async with room.running(script=out, settings=hasty):
        job = await room.ended()
        assert (job.state, job.error_code) == (JobState.FAILED, "store_unavailable")
        assert await states(room) == [FileState.PENDING] * 2
        assert job.error_message == "the store is out"


async def test_a_job_that_never_comes_to_an_end_is_buried_with_its_reason(room):
    async def bug(work: Any, run: Any) -> None:
        raise RuntimeError("a bug")

    await room.submit(texts(1), "bad")
    async with room.running(script=bug):
        for _ in range(6):
            await asyncio.sleep(0.05)
            room.skip(room.lifetimes.visibility_timeout_s + 1)
        job = await room.ended("bad")
    assert (job.state, job.error_code) == (JobState.FAILED, "poison")
    (letter,) = await room.queue.buried()
    assert (letter.job_id, letter.reason) == ("bad", job.error_message)
    assert "5 times" in letter.reason
    assert not room.world.collection(COLLECTION).lease


@pytest.mark.parametrize("ends_at", range(2, 26, 2))
async def test_a_poison_job_is_buried_though_its_undertaker_dies(room, ends_at):
    await room.submit(texts(1))
    never = replace(QUICK, max_deliveries=0)
    async with room.running(Process(dies_at=ends_at), settings=never) as first:
        await until(lambda: first.dead or not room.world.queue)
    room.skip(room.lifetimes.visibility_timeout_s + 1)
    async with room.running(name="two", settings=never):
        assert (await room.ended()).error_code == "poison"
    assert [letter.job_id for letter in await room.queue.buried()] == ["job"]


async def test_a_supervisor_takes_up_at_once_what_it_has_let_go_itself(room):
    lost = asyncio.Event()

    async def loses_its_lease(work: Any, run: Any) -> None:
        if not lost.is_set():
            lost.set()
            raise LeaseLost("another's")
        await run()

    class SlowToAnswer(MemoryJobQueue):
        async def release(self, claim: Claim, consumer: str) -> None:
            await super().release(claim, consumer)
            await asyncio.sleep(0.05)

    room.queue = SlowToAnswer(room.world)
    await room.submit(texts(2))
    async with room.running(script=loses_its_lease):
        job = await room.ended(timeout_s=3)
    assert (job.state, job.attempts) == (JobState.COMPLETED, 2)


@pytest.mark.parametrize("dropped_at", [0, 2])
async def test_a_job_writes_nothing_to_a_new_collection_of_the_dropped_ones_name(room, dropped_at):
    async def replaced_in_mid_job(work: Any, run: Any) -> None:
        if work.job_id == "job" and work.spec.number == dropped_at:
            model = await room.embedder.model()
            await room.store.drop_collection(COLLECTION)
            await room.visibility.forget(COLLECTION)
            await room.store.create_collection(Collection(COLLECTION, model))
        await run()

    await room.submit(texts(5))
    async with room.running(script=replaced_in_mid_job):
        job = await room.ended()
        assert (job.state, job.error_code) == (JobState.FAILED, "collection_not_found")
        assert await room.chunks() == frozenset()
        await room.jobs.resume("job")
        job = await room.ended()
        assert (job.state, job.error_code) == (JobState.FAILED, "collection_not_found")
        await room.submit(texts(2), "later")
        job = await room.ended("later")
    assert job.state is JobState.COMPLETED
    assert {source for source, _, _ in await room.chunks()} == {"file-0.txt", "file-1.txt"}


async def test_a_dropped_collection_ends_its_job_with_the_reason(room):
    begun = asyncio.Event()

    async def slow(work: Any, run: Any) -> None:
        begun.set()
        await asyncio.sleep(0.03)
        await run()

    await room.submit(texts(6))
    async with room.running(script=slow):
        await begun.wait()
        await room.store.drop_collection(COLLECTION)
        await room.visibility.forget(COLLECTION)
        job = await room.ended(timeout_s=3)
    assert (job.state, job.error_code) == (JobState.FAILED, "collection_not_found")


async def test_a_collection_of_another_model_ends_the_job_before_a_file_is_read(room):
    room.model = EmbeddingModel("another", 8, 256)
    await room.submit(texts(2))
    async with room.running():
        job = await room.ended()
    assert (job.state, job.error_code) == (JobState.FAILED, "model_mismatch")
    assert room.reads == {}


async def test_a_lost_upload_and_a_refused_chunk_fail_their_files_alone(room, monkeypatch):
    job = await room.submit(texts(3))
    files = await room.jobs.files(job.id)
    lose(files[0].spec.blob_url)
    upsert = room.store.upsert

    async def picky(collection: str, chunks: Any, vectors: Any) -> None:
        if chunks[0].document.source == "file-1.txt":
            raise InvalidRequest("too long")
        await upsert(collection, chunks, vectors)

    monkeypatch.setattr(room.store, "upsert", picky)
    async with room.running():
        job = await room.ended()
    assert (job.state, job.files_done, job.files_failed) == (JobState.COMPLETED, 1, 2)
    codes = [file.error_code for file in await room.jobs.files("job")]
    assert codes == ["staged_file_lost", "invalid_request", ""]
    assert {source for source, _, _ in await room.chunks()} == {"file-2.txt"}
