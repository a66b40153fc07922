"""A job of ten thousand files on a real Valkey: it ends whole, and tells the truth on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from api.desk import Desk
from ingestion_room import COLLECTION, QUICK, IngestionRoom, until
from redis.asyncio import Redis

from deployments.contracts.jobs import FileState, Job, JobState
from deployments.state.connection import connect
from deployments.state.jobs import RedisJobStore
from deployments.state.locks import RedisCollectionLock
from deployments.state.policies import JobLimits
from deployments.state.queue import RedisJobQueue
from deployments.state.visibility import RedisVisibility
from tests.services import ValkeyServer

EVERY = 100
"""One file in so many is empty, and one is there already."""
OTHER_JOBS = 30
IN_FLIGHT = 8
MOST_GROWTH_BYTES = 256 * 2**20
"""Twice what was seen, most of it the in-memory store's chunks and vectors."""
BUSY = replace(
    QUICK,
    claim_wait_s=0.2,
    files_in_flight=IN_FLIGHT,
    cancel_poll_s=0.2,
    busy_pause_s=0.1,
    heartbeat_s=1.0,
    lease_renewal_s=5.0,
)


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[Redis]:
    server = ValkeyServer(tmp_path / "valkey").start()
    client = connect(server.url, server.password)
    yield client
    await client.aclose()
    server.stop()


@pytest.fixture
async def room(tmp_path: Path, redis: Redis) -> IngestionRoom:
    """One whose state is in Valkey."""
    made: Any = await IngestionRoom(tmp_path, batch=64).open()
    made.jobs = RedisJobStore(redis, limits=JobLimits(event_poll_s=0.1))
    made.queue = RedisJobQueue(redis)
    made.lock = RedisCollectionLock(redis)
    made.visibility = RedisVisibility(redis)
    return made


@dataclass
class Crowd:
    """How many files are being worked on."""

    now: int = 0
    most: int = 0

    async def run(self, work: Any, run: Any) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await run()
        finally:
            self.now -= 1


def text_of(number: int) -> str:
    if number % EVERY == 1:
        return "   "
    return " ".join(f"w{number}x{i}" for i in range(4 + number % 60))


def texts_of(numbers: range) -> dict[str, str]:
    return {f"file-{number}.txt": text_of(number) for number in numbers}


async def progress(room: IngestionRoom) -> list[Job]:
    """The job as who asks now and then sees it, until it has ended."""
    seen = [await room.jobs.get("big")]
    while not seen[-1].state.ended:
        await asyncio.sleep(0.25)
        seen.append(await room.jobs.get("big"))
    return seen


def check_progress(seen: list[Job]) -> None:
    assert len(seen) > 4
    for before, after in pairwise(seen):
        for counter in ("files_done", "files_failed", "bytes_done", "chunks_done"):
            assert getattr(before, counter) <= getattr(after, counter), counter
        assert after.chunks_done <= after.chunks_total
        assert after.files_done + after.files_failed <= after.files_total
        assert after.bytes_done <= after.bytes_total


async def paged(caller: httpx.AsyncClient, **asked: str) -> list[tuple[str, str]]:
    """(id, state) of every job that `GET /v1/jobs` lists, a few at a time."""
    found: list[tuple[str, str]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await caller.get("/v1/jobs", params={"limit": "7", **asked, **cursor})
        page = answer.raise_for_status().json()
        assert len(page["jobs"]) <= 7
        found += [(job["id"], job["state"]) for job in page["jobs"]]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


@pytest.mark.parametrize("files", [500, pytest.param(10_000, marks=pytest.mark.soak)])
async def test_a_large_job_ends_whole_and_every_number_is_right(
    room: IngestionRoom, tmp_path: Path, files: int
) -> None:
    desk = Desk(tmp_path / "desk")
    desk.jobs.twin = room.jobs
    crowd = Crowd()
    there = {name: text for number in range(0, files, EVERY)
             for name, text in texts_of(range(number, number + 1)).items()}  # fmt: skip
    await room.submit(there, "there")
    async with room.running(script=crowd.run, settings=BUSY), desk.client() as caller:
        await room.ended("there")
        await room.submit(texts_of(range(files)), "big")
        memory = psutil.Process()
        before_bytes = memory.memory_info().rss
        watching = asyncio.create_task(progress(room))
        await until(lambda: crowd.now, 30)
        names = [f"other-{n}" for n in range(OTHER_JOBS)]
        for n, name in enumerate(names):
            await room.submit({f"other-{n}.txt": f"other text {n}"}, name)

        listed = await paged(caller)
        assert [job_id for job_id, _ in listed] == [*reversed(names), "big", "there"]
        assert await paged(caller, state="PROCESSING") == [("big", "PROCESSING")]
        assert len(await paged(caller, state="PENDING")) == OTHER_JOBS

        seen = await asyncio.wait_for(watching, 300)
        grown_bytes = memory.memory_info().rss - before_bytes
        for name in names:
            assert (await room.ended(name, 60)).state is JobState.COMPLETED
        shown = (await caller.get("/v1/jobs/big")).raise_for_status()
        everything = await paged(caller, state="COMPLETED", collection=COLLECTION)
    check_progress(seen)
    assert grown_bytes < MOST_GROWTH_BYTES
    assert (crowd.most, crowd.now) == (IN_FLIGHT, 0)

    big = await room.jobs.get("big")
    empty = files // EVERY
    assert (big.state, big.attempts) == (JobState.COMPLETED, 1)
    assert (big.files_done, big.files_unchanged, big.files_failed) == (files - empty, empty, empty)
    assert len(everything) == OTHER_JOBS + 2
    listed_files = [file["number"] for file in shown.json()["files"]]
    assert listed_files == list(range(min(files, 1000)))
    assert len(shown.content) < 2**20
    failed = await room.jobs.files("big", limit=files, state=FileState.FAILED)
    assert {file.error_code for file in failed} == {"empty_document"}
    assert [file.spec.number for file in failed] == list(range(1, files, EVERY))

    documents: dict[str, list[str]] = {}
    for source, _, text in sorted(await room.chunks()):
        documents.setdefault(source, []).append(text)
    wanted = {name: text for name, text in texts_of(range(files)).items() if text.strip()}
    found = {name: " ".join(parts) for name, parts in documents.items() if name in wanted}
    assert found == wanted
    assert len(documents) == len(wanted) + OTHER_JOBS
    assert big.chunks_done == sum(
        len(parts) for name, parts in documents.items() if name in wanted and name not in there
    )
    assert await room.queue.depth() == 0
    assert (await room.visibility.snapshot(COLLECTION)).hidden_versions == frozenset()
