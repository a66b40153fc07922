"""Files that are read and written by several tasks: what they become, whatever happens to those."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ingestion_room import (
    COLLECTION,
    LIMITS,
    PAGE_BREAK,
    QUICK,
    ChunkSet,
    IngestionRoom,
    Process,
    paged,
    states,
    texts,
    until,
)

from deployments.contracts.jobs import FileState, JobState
from deployments.errors import DamagedDocument, WorkerDied
from deployments.ingestion.chunking import Chunker
from deployments.ingestion.ranges import FileWork, ReadRange, WriteRange

pytestmark = pytest.mark.usefixtures("no_task_is_left_behind")

PAGES = 9
BOOK = PAGE_BREAK.join(
    " ".join(f"p{page}w{word}" for word in range(0 if page == 4 else 90)) for page in range(PAGES)
)
"""Three chunks a page; one page is empty."""
LONG = texts(1, words=700)["file-0.txt"]


async def large_room(folder: Path) -> IngestionRoom:
    return await IngestionRoom(folder, range_pages=2, range_chunks=5).open()


@pytest.fixture
async def room(tmp_path: Path) -> IngestionRoom:
    return await large_room(tmp_path)


def whole(name: str, text: str) -> list[tuple[int, str, int | None, int, int]]:
    """What one process makes of the text, read from end to end."""
    drafts = Chunker(lambda _: 1, LIMITS).chunk(paged(name, text))
    return [(d.number, d.text, d.page, d.start_char, d.end_char) for d in drafts]


async def seen(room: IngestionRoom) -> list[tuple[int, str, int | None, int, int]]:
    chunks = sorted(await room.visible(), key=lambda chunk: chunk.number)
    assert {c.document.chunk_count for c in chunks} <= {len(chunks)}
    return [(c.number, c.text, c.page, c.start_char, c.end_char) for c in chunks]


@pytest.mark.parametrize("text", [BOOK, LONG], ids=["pages", "text"])
async def test_a_large_file_becomes_what_one_process_would_make_of_it(room, text):
    steps: Counter[type] = Counter()

    async def count(step: Any, run: Any) -> None:
        steps[type(step)] += 1
        await run()

    await room.submit({"book": text})
    async with room.running(script=count):
        job = await room.ended()
    assert await seen(room) == whole("book", text)
    assert (job.state, job.files_done, job.chunks_done) == (
        JobState.COMPLETED, 1, len(whole("book", text)),
    )  # fmt: skip
    assert steps[WriteRange] > 4
    assert steps[ReadRange] == (4 if text is BOOK else 0)


@pytest.mark.parametrize("seed", range(10))
async def test_the_order_in_which_steps_end_makes_no_difference(room, seed):
    chance = random.Random(seed)

    async def dawdle(step: Any, run: Any) -> None:
        await asyncio.sleep(chance.uniform(0, 0.004))
        await run()
        await asyncio.sleep(chance.uniform(0, 0.004))

    settings = replace(QUICK, files_in_flight=chance.randint(1, 6))
    await room.submit({"book": BOOK})
    async with room.running(script=dawdle, settings=settings):
        await room.ended()
    assert await seen(room) == whole("book", BOOK)


async def test_nothing_of_a_large_file_is_seen_before_all_of_it_is(room):
    counts = set()

    async def look(step: Any, run: Any) -> None:
        counts.add(len(await room.visible()))
        await run()
        counts.add(len(await room.visible()))

    await room.submit({"book": BOOK})
    async with room.running(script=look):
        await room.ended()
    assert counts == {0}


async def test_a_changed_large_file_replaces_all_its_chunks(room):
    await room.submit({"book": BOOK})
    async with room.running():
        await room.ended()
        await room.submit({"book": BOOK.replace("p1w", "new")}, "again")
        await room.ended("again")
        await room.submit({"book": BOOK.replace("p1w", "new")}, "same")
        assert (await room.ended("same")).files_unchanged == 1
    assert await seen(room) == whole("book", BOOK.replace("p1w", "new"))


async def test_a_step_whose_process_died_is_done_again_and_the_others_are_not(room):
    tries: Counter[Any] = Counter()

    async def mortal(step: Any, run: Any) -> None:
        key = (type(step).__name__, getattr(step, "first_page", getattr(step, "number", 0)),
               getattr(step, "start", 0))  # fmt: skip
        tries[key] += 1
        await run()
        if key in [("ReadRange", 4, 0), ("WriteRange", 6, 0)] and tries[key] < 3:
            raise WorkerDied

    await room.submit({"book": BOOK})
    async with room.running(script=mortal):
        job = await room.ended()
    assert (job.state, job.files_done) == (JobState.COMPLETED, 1)
    assert await seen(room) == whole("book", BOOK)
    assert sorted(tries.values())[-3:] == [1, 3, 3]


async def test_a_file_whose_readings_are_lost_with_their_node_starts_afresh(room):
    lost = [True] * QUICK.max_deaths

    async def lose(step: Any, run: Any) -> None:
        if isinstance(step, WriteRange) and step.number and lost:
            lost.pop()
            raise WorkerDied
        await run()

    await room.submit({"book": BOOK})
    async with room.running(script=lose, settings=replace(QUICK, files_in_flight=1)):
        job = await room.ended()
    assert (job.state, job.files_done) == (JobState.COMPLETED, 1)
    assert await seen(room) == whole("book", BOOK)


async def test_a_range_that_kills_every_worker_fails_its_file_alone(room):
    async def deadly(step: Any, run: Any) -> None:
        if isinstance(step, ReadRange) and step.first_page == 6:
            raise WorkerDied
        await run()

    await room.submit({"book": BOOK, **texts(2)})
    async with room.running(script=deadly):
        job = await room.ended()
    assert (job.state, job.files_done, job.files_failed) == (JobState.COMPLETED, 2, 1)
    assert (await room.jobs.files("job"))[0].error_code == "worker_died"
    assert {source for source, _, _ in await room.chunks()} == {"file-0.txt", "file-1.txt"}


async def test_a_range_that_cannot_be_read_fails_the_file_with_its_reason(room):
    def read(path: Path, content_type: str, name: str, pages: Any) -> Any:
        if pages.first == 4:
            raise DamagedDocument("page 5 is torn")
        return room.read(path, content_type, name, pages)

    await room.submit({"book": BOOK})
    async with room.running(read=read):
        job = await room.ended()
    assert (job.state, job.files_failed) == (JobState.COMPLETED, 1)
    [file] = await room.jobs.files("job")
    assert (file.error_code, file.error_message) == ("damaged_document", "page 5 is torn")
    assert await room.visible() == []


async def test_a_file_of_many_empty_pages_is_an_empty_document(room):
    await room.submit({"scan": PAGE_BREAK * 7})
    async with room.running():
        await room.ended()
    [file] = await room.jobs.files("job")
    assert (file.state, file.error_code) == (FileState.FAILED, "empty_document")


async def test_other_files_come_in_between_the_steps_of_a_large_one(room):
    order: list[str] = []

    async def note(step: Any, run: Any) -> None:
        await run()
        order.append(type(step).__name__ if not isinstance(step, FileWork) else step.spec.name)

    await room.submit({"book": PAGE_BREAK.join([BOOK] * 3), **texts(3, words=10)})
    async with room.running(script=note):
        await room.ended()
    assert len(order) > 20
    assert order.index("file-2.txt") < len(order) / 2


async def test_a_cancelled_job_leaves_nothing_of_a_large_file(room):
    begun = asyncio.Event()

    async def stall(step: Any, run: Any) -> None:
        if isinstance(step, WriteRange) and step.number > 6:
            begun.set()
            await asyncio.Event().wait()
        await run()

    await room.submit({"book": BOOK})
    async with room.running(script=stall):
        await asyncio.wait_for(begun.wait(), 5)
        assert room.stored_versions(), "something was written"
        await room.jobs.cancel("job")
        job = await room.ended(timeout_s=1)
        assert job.state is JobState.CANCELLED
        assert await states(room) == [FileState.CANCELLED]
        assert await room.visible() == []
        room.skip(1e6)
        await until(lambda: not room.stored_versions())


async def expected(folder: Path, sent: dict[str, str]) -> ChunkSet:
    undisturbed = await large_room(folder)
    await undisturbed.submit(sent)
    async with undisturbed.running():
        await undisturbed.ended()
    return await undisturbed.chunks()


@pytest.mark.parametrize(
    "seed", [*range(6), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(6, 200))]
)
async def test_a_job_with_a_large_file_survives_the_death_of_its_supervisor(tmp_path, seed):
    chance = random.Random(seed)
    sent = {"book": BOOK, **texts(2), "long": LONG}
    room = await large_room(tmp_path / "struck")
    await room.submit(sent)
    for _ in range(3):
        process = Process(dies_at=chance.randint(1, 250))
        async with room.running(process):
            await until(lambda process=process: process.dead or _is_done(room))
        room.skip(room.lifetimes.visibility_timeout_s + 1)
    async with room.running():
        job = await room.ended()
    assert (job.state, job.files_done) == (JobState.COMPLETED, 4)
    assert await room.chunks() == await expected(tmp_path / "calm", sent)
    assert room.wasted == [], "a committed file was read again"
    assert (await room.visibility.snapshot(COLLECTION)).epoch


def _is_done(room: IngestionRoom) -> bool:
    return room.world.jobs["job"].job.state.ended
