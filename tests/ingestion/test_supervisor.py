"""What a supervisor does with jobs, as callers and searchers see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ingestion_room import (
    COLLECTION,
    QUICK,
    IngestionRoom,
    Process,
    texts,
    undisturbed,
    until,
)

from deployments.contracts.embedding import EmbeddingModel
from deployments.contracts.jobs import FileState, JobState
from deployments.contracts.retrieval import Collection, SearchMode, SearchRequest
from deployments.errors import (
    DamagedDocument,
    IllegalTransition,
    InvalidRequest,
    JobNotFound,
    StoreUnavailable,
    WorkerDied,
)


@pytest.fixture
async def room(tmp_path: Path) -> IngestionRoom:
    return await IngestionRoom(tmp_path).open()


async def states(room: IngestionRoom, job_id: str = "job") -> list[FileState]:
    return [file.state for file in await room.jobs.files(job_id)]


async def test_a_job_becomes_its_files_chunks_and_its_uploads_go(room, tmp_path):
    await room.submit(texts(3))
    async with room.running():
        job = await room.ended()
    assert (job.state, job.files_done, job.chunks_done) == (JobState.COMPLETED, 3, 12)
    assert await room.chunks() == await undisturbed(tmp_path / "again", texts(3))
    assert list((tmp_path / "blobs").iterdir()) == []
    assert (await room.visibility.snapshot(COLLECTION)).hidden_versions == frozenset()


def lose(blob_url: str) -> None:
    Path(blob_url.removeprefix("file://")).unlink()


async def test_an_unchanged_file_is_left_alone_and_a_changed_one_replaced(room):
    await room.submit({"a": "one two three", "b": "four five six"})
    async with room.running():
        await room.ended()
        before = {c.document.source: c.document.version for c in await room.visible()}
        await room.submit({"a": "one two three", "b": "four five seven"}, "again")
        job = await room.ended("again")
    after = {c.document.source: c.document.version for c in await room.visible()}
    assert (job.files_done, job.files_unchanged) == (2, 1)
    assert after["a"] == before["a"]
    assert after["b"] != before["b"]
    assert {text for _, _, text in await room.chunks()} == {"one two three", "four five seven"}


async def test_files_that_become_one_document_leave_one_version(room):
    sent = {f"{number}": f"text number {number}" for number in range(6)}
    await room.submit(sent, document_ids=dict.fromkeys(sent, "same"))
    async with room.running():
        job = await room.ended()
    assert job.files_done == 6
    assert [chunk.text for chunk in await room.visible()] == ["text number 5"]


async def test_a_searcher_always_sees_exactly_one_version_of_a_document(room):
    seen: set[int] = set()

    async def search_on() -> None:
        while True:
            hidden = (await room.visibility.snapshot(COLLECTION)).hidden_versions
            await asyncio.sleep(0)
            request = SearchRequest(
                COLLECTION, "common", None, SearchMode.LEXICAL, limit=50, hidden_versions=hidden
            )
            found = await room.store.search(request)
            versions = {passage.chunk.document.version for passage in found}
            numbers = [passage.chunk.number for passage in found]
            assert len(versions) == 1, "both versions, or neither"
            assert sorted(numbers) == [0, 1, 2, 3]
            seen.update(versions)
            await asyncio.sleep(0)

    def text(round_: int) -> dict[str, str]:
        return {"a": " ".join(["common", *(f"r{round_}w{i}" for i in range(6))] * 18)}

    async with room.running():
        await room.submit(text(0), "job-0")
        await room.ended("job-0")
        searching = asyncio.create_task(search_on())
        for round_ in range(1, 15):
            await room.submit(text(round_), f"job-{round_}")
            await room.ended(f"job-{round_}")
        searching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await searching
    assert len(seen) > 10


async def test_a_running_job_is_cancelled_within_a_moment_and_keeps_what_it_committed(room):
    stuck = asyncio.Event()

    async def stuck_on_the_third(work: Any, run: Any) -> None:
        if work.spec.number == 2:
            await room.jobs.begin_file(work.job_id, 2, work.lease)
            stuck.set()
            await asyncio.Event().wait()
        await run()

    await room.submit(texts(5))
    one_by_one = replace(QUICK, files_in_flight=1)
    async with room.running(script=stuck_on_the_third, settings=one_by_one):
        await asyncio.wait_for(stuck.wait(), 5)
        await room.jobs.cancel("job")
        job = await room.ended(timeout_s=1)
    assert job.state is JobState.CANCELLED
    assert await states(room) == [FileState.DONE] * 2 + [FileState.CANCELLED] * 3
    assert {source for source, _, _ in await room.chunks()} == {"file-0.txt", "file-1.txt"}


async def test_a_cancelled_job_leaves_nothing_of_its_unfinished_files_searchable(room, tmp_path):
    for cancel_at in range(10, 140, 13):
        room = await IngestionRoom(tmp_path / str(cancel_at)).open()
        await room.submit(texts(4))
        async with room.running() as process:
            await until(lambda process=process, at=cancel_at: process.steps >= at)
            await room.jobs.cancel("job")
            job = await room.ended(timeout_s=2)
        done = {f.spec.source for f in await room.jobs.files("job") if f.state is FileState.DONE}
        assert job.state is JobState.CANCELLED
        assert {source for source, _, _ in await room.chunks()} == done


async def test_a_resume_takes_up_only_what_is_not_done(room):
    faults = {1: DamagedDocument("not readable")}

    def read(path: Path, content_type: str, name: str) -> Any:
        if name == "file-1.txt" and faults:
            raise faults.pop(1)
        return room.read(path, content_type, name)

    await room.submit(texts(3))
    async with room.running(read=read):
        job = await room.ended()
        assert (job.state, job.files_failed) == (JobState.COMPLETED, 1)
        failed = (await room.jobs.files("job"))[1]
        assert (failed.error_code, failed.error_message) == ("damaged_document", "not readable")
        await room.jobs.resume("job")
        job = await room.ended()
    assert (job.files_done, job.files_failed) == (3, 0)
    assert room.reads == {"file-0.txt": 1, "file-1.txt": 1, "file-2.txt": 1}


async def test_cancel_and_resume_while_queued_do_not_make_two_writers(room):
    await room.submit(texts(4))
    await room.jobs.cancel("job")
    await room.jobs.resume("job")
    assert await room.queue.depth() == 2
    async with room.running(), room.running(Process(), name="two"):
        job = await room.ended(timeout_s=3)
    assert (job.state, job.attempts, job.files_done) == (JobState.COMPLETED, 1, 4)


async def test_two_jobs_on_one_collection_run_one_after_the_other(room):
    open_jobs: set[str] = set()

    async def alone(work: Any, run: Any) -> None:
        open_jobs.add(work.job_id)
        assert len(open_jobs) == 1
        await run()
        if (await room.jobs.get(work.job_id)).files_done == 3:
            open_jobs.discard(work.job_id)

    one_by_one = replace(QUICK, files_in_flight=1)
    for number in range(3):
        await room.submit(texts(3, tag=f"-{number}"), f"job-{number}")
    async with room.running(script=alone, settings=one_by_one):
        for number in range(3):
            assert (await room.ended(f"job-{number}")).files_done == 3


async def test_jobs_on_two_collections_run_side_by_side(room):
    await room.store.create_collection(Collection("other", await room.embedder.model()))
    both = asyncio.Barrier(2)

    async def together(work: Any, run: Any) -> None:
        await asyncio.wait_for(both.wait(), 5)
        await run()

    await room.submit(texts(1), "here")
    await room.submit(texts(1), "there", "other")
    async with room.running(script=together):
        assert (await room.ended("here")).files_done == 1
        assert (await room.ended("there")).files_done == 1


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


async def test_a_document_deleted_while_its_successor_is_written_comes_back_only_as_that(room):
    await room.submit({"a": "old words"}, "first")
    async with room.running():
        await room.ended("first")
    (old,) = await room.visible()

    async def deleted_meanwhile(work: Any, run: Any) -> None:
        await room.visibility.hide(COLLECTION, [old.document.version])
        await run()

    await room.submit({"a": "new words"}, "second")
    async with room.running(script=deleted_meanwhile):
        await room.ended("second")
    assert {text for _, _, text in await room.chunks()} == {"new words"}


async def test_the_sweep_deletes_replaced_versions_once_nobody_reads_them(room):
    await room.submit({"a": "old words"}, "first")
    async with room.running():
        await room.ended("first")
        await room.submit({"a": "new words"}, "second")
        await room.ended("second")
        await asyncio.sleep(0.03)
        assert len(room.stored_versions()) == 2
        room.skip(room.lifetimes.grace_s + 1)
        await until(lambda: len(room.stored_versions()) == 1)
        room.skip(room.lifetimes.settle_s + 1)
        await until(lambda: not room.world.collection(COLLECTION).hidden)
    assert {text for _, _, text in await room.chunks()} == {"new words"}


async def test_one_version_that_cannot_be_swept_takes_no_supervisor_along(room, monkeypatch):
    async def broken(collection: str, version: int) -> None:
        raise ValueError("not today")

    monkeypatch.setattr(room.store, "delete_version", broken)
    await room.visibility.hide(COLLECTION, [1])
    room.skip(room.lifetimes.grace_s + 1)
    async with room.running():
        await asyncio.sleep(0.05)
        await room.submit(texts(1))
        assert (await room.ended()).files_done == 1


async def test_uploads_stay_while_a_job_can_be_resumed_and_go_with_its_record(room, tmp_path):
    async def bad(work: Any, run: Any) -> None:
        await room.jobs.fail_file(work.job_id, work.spec.number, work.lease, "bad", "bad")

    await room.submit(texts(1))
    async with room.running(script=bad):
        assert (await room.ended()).files_failed == 1
    sweep = room.sweep(Process())
    sweep._settings = replace(sweep._settings, blob_age_s=-1)
    await sweep.sweep_blobs()
    assert [folder.name for folder in (tmp_path / "blobs").iterdir()] == ["job"]
    room.skip(room.lifetimes.job_s + 1)
    with pytest.raises(JobNotFound):
        await room.jobs.get("job")
    await sweep.sweep_blobs()
    assert list((tmp_path / "blobs").iterdir()) == []


@pytest.mark.parametrize("files", [2_500, pytest.param(10_000, marks=pytest.mark.soak)])
async def test_a_job_of_thousands_of_files_keeps_its_bounds(room, files):
    running = most = 0

    async def count(work: Any, run: Any) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        await room.jobs.skip_file(work.job_id, work.spec.number, work.lease)

    room.jobs._publish = lambda entry: entry.job  # the twin sums over all files at each step
    job = await room.submit({"one": "text"})
    entry = room.world.jobs[job.id]
    (status,) = entry.files.values()
    for number in range(files):
        spec = replace(status.spec, number=number, document_id=f"doc-{number}")
        entry.files[number] = replace(status, spec=spec)
    entry.job = replace(entry.job, files_total=files)
    async with room.running(script=count):
        job = await room.ended(timeout_s=60)
    assert job.state is JobState.COMPLETED
    assert set(await states(room)) == {FileState.UNCHANGED}
    assert most == QUICK.files_in_flight


@pytest.fixture(autouse=True)
async def _no_task_is_left_behind() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0.01)
    assert asyncio.all_tasks() - before - {asyncio.current_task()} == set()
