"""What a supervisor does with jobs, as callers and searchers see it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ingestion_room import (
    COLLECTION,
    QUICK,
    IngestionRoom,
    Process,
    states,
    texts,
    undisturbed,
    until,
)

from deployments.contracts.jobs import FileState, JobState
from deployments.contracts.retrieval import Collection, SearchMode, SearchRequest
from deployments.errors import (
    DamagedDocument,
)

pytestmark = pytest.mark.usefixtures("no_task_is_left_behind")


async def test_a_job_becomes_its_files_chunks_and_its_uploads_go(room, tmp_path):
    await room.submit(texts(3))
    async with room.running():
        job = await room.ended()
    assert (job.state, job.files_done, job.chunks_done) == (JobState.COMPLETED, 3, 12)
    assert await room.chunks() == await undisturbed(tmp_path / "again", texts(3))
    assert list((tmp_path / "blobs").iterdir()) == []
    assert (await room.visibility.snapshot(COLLECTION)).hidden_versions == frozenset()


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
        await room.submit(texts(6))
        async with room.running() as process:
            await until(lambda process=process, at=cancel_at: process.steps >= at)
            await room.jobs.cancel("job")
            job = await room.ended(timeout_s=2)
        done = {f.spec.source for f in await room.jobs.files("job") if f.state is FileState.DONE}
        assert job.state is JobState.CANCELLED
        assert {source for source, _, _ in await room.chunks()} == done


async def test_a_resume_takes_up_only_what_is_not_done(room):
    faults = {1: DamagedDocument("not readable")}

    def read(path: Path, content_type: str, name: str, pages: Any) -> Any:
        if name == "file-1.txt" and faults:
            raise faults.pop(1)
        return room.read(path, content_type, name, pages)

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
