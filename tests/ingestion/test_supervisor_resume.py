"""Whatever is killed, asked to end, paused or out, and at whatever step: nothing is lost."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from ingestion_room import (
    COLLECTION,
    ChunkSet,
    IngestionRoom,
    Process,
    texts,
    undisturbed,
    until,
)

from deployments.contracts.jobs import FileState, JobState
from deployments.state.keys import Lifetimes

SENT = texts(3, words=100)


@pytest.fixture(scope="module")
async def expected(tmp_path_factory: pytest.TempPathFactory) -> ChunkSet:
    return await undisturbed(tmp_path_factory.mktemp("undisturbed"), SENT)


async def room_with_job(folder: Path) -> IngestionRoom:
    room = await IngestionRoom(folder).open()
    await room.submit(SENT)
    return room


async def check_whole(room: IngestionRoom, expected: ChunkSet) -> None:
    job = await room.ended()
    assert job.state is JobState.COMPLETED, (job.error_code, job.error_message)
    assert (job.files_done, job.files_failed) == (len(SENT), 0)
    assert await room.chunks() == expected
    assert room.wasted == []


async def steps_of_a_run(folder: Path) -> int:
    room = await room_with_job(folder)
    async with room.running() as process:
        await room.ended()
        return process.steps


# Every step of a run in the long suite, each eighth in the short one.
STRIDES = [8, pytest.param(1, marks=pytest.mark.soak)]


@pytest.mark.parametrize("stride", STRIDES)
async def test_a_job_is_resumed_wherever_its_supervisor_was_killed(tmp_path, expected, stride):
    steps = await steps_of_a_run(tmp_path / "count")
    assert steps > 100
    for dies_at in range(1, steps, stride):
        room = await room_with_job(tmp_path / str(dies_at))
        async with room.running(Process(dies_at=dies_at)) as first:
            await until(lambda first=first, room=room: first.dead or not room.world.queue)
        room.skip(room.lifetimes.visibility_timeout_s + 1)
        async with room.running(name="two"):
            await check_whole(room, expected)


@pytest.mark.parametrize("stride", STRIDES)
async def test_a_job_goes_on_at_once_wherever_its_supervisor_was_asked_to_end(
    tmp_path, expected, stride
):
    steps = await steps_of_a_run(tmp_path / "count")
    for ends_at in range(1, steps, stride):
        room = await room_with_job(tmp_path / str(ends_at))
        async with room.running(Process(ends_at=ends_at)) as first:
            await until(lambda first=first, room=room: first.running.done() or not room.world.queue)
        # No clock was moved: what is not handed over stays where it is, and this times out.
        async with room.running(name="two"):
            await check_whole(room, expected)
        assert not room.world.collection(COLLECTION).lease


@pytest.mark.parametrize("seed", range(40))
async def test_outages_before_and_after_any_call_are_sat_out(tmp_path, expected, seed):
    room = await room_with_job(tmp_path)
    # A claim whose answer was lost is found once its heartbeat has been silent for long enough.
    room.world.lifetimes = Lifetimes(visibility_timeout_s=0.2)
    process = Process()
    process.faults, process.fault_rate = random.Random(seed), 0.02 + 0.002 * seed
    async with room.running(process):
        await check_whole(room, expected)


@pytest.mark.parametrize("seed", range(25))
async def test_two_supervisors_that_are_killed_again_and_again_finish_every_job(tmp_path, seed):
    chance = random.Random(seed)
    room = await IngestionRoom(tmp_path, Lifetimes(visibility_timeout_s=0.2)).open()
    sent = {}
    for number in range(3):
        some = texts(3, words=70, tag=f"-{number}")
        await room.submit(some, f"job-{number}")
        sent |= some
    kills = 6
    processes: list[tuple[Process, asyncio.Task[None]]] = []

    def start(name: str) -> tuple[Process, asyncio.Task[None]]:
        nonlocal kills
        last = chance.randint(1, 150) if kills > 0 else 0
        kills -= 1
        way = {"dies_at": last} if chance.random() < 0.5 else {"ends_at": last}
        process = Process(**way)
        process.faults, process.fault_rate = chance, 0.01
        process.running = asyncio.create_task(room.supervisor(process, name=name).run())
        return process, process.running

    names = iter(range(1000))
    processes = [start(f"s{next(names)}"), start(f"s{next(names)}")]
    async with asyncio.timeout(20):
        while await room.queue.depth():
            await asyncio.sleep(0.002)
            for index, (process, task) in enumerate(processes):
                if process.dead or task.done():
                    task.cancel()
                    await asyncio.wait({task})
                    processes[index] = start(f"s{next(names)}")
    for _, task in processes:
        task.cancel()
        await asyncio.wait({task})
    for number in range(3):
        job = await room.jobs.get(f"job-{number}")
        assert job.state is JobState.COMPLETED, (job.error_code, job.error_message)
        assert (job.files_done, job.files_failed) == (3, 0)
    assert room.wasted == []
    assert await room.chunks() == await undisturbed(tmp_path / "again", sent)


@pytest.mark.parametrize("seed", range(30))
async def test_a_supervisor_that_slept_past_its_lease_cannot_commit(tmp_path, expected, seed):
    room = await room_with_job(tmp_path)
    chance = random.Random(seed)
    sleeper = Process(pauses_at=chance.randint(5, 120))
    async with room.running(sleeper, name="sleeper"):
        async with asyncio.timeout(10):
            await sleeper.paused.wait()
        room.skip(room.lifetimes.lease_s + 1)
        async with room.running(name="two"):
            await check_whole(room, expected)
        job, files = await room.jobs.get("job"), await room.jobs.files("job")
        sleeper.awake.set()
        await asyncio.sleep(0.05)
        assert await room.jobs.get("job") == job
        assert await room.jobs.files("job") == files
        assert await room.chunks() == expected


async def test_each_sleeper_loses_its_files_in_mid_job_to_the_next_one(tmp_path, expected):
    room = await room_with_job(tmp_path)
    first, second = Process(pauses_at=60), Process(pauses_at=60)
    async with room.running(first, name="first"):
        await asyncio.wait_for(first.paused.wait(), 10)
        room.skip(room.lifetimes.visibility_timeout_s + 1)
        async with room.running(second, name="second"):
            await asyncio.wait_for(second.paused.wait(), 10)
            first.awake.set()
            await asyncio.sleep(0.02)
            second.awake.set()
            await check_whole(room, expected)


async def test_more_kills_than_tries_are_no_poison_while_files_get_done(tmp_path):
    sent = texts(40, words=40)
    room = await IngestionRoom(tmp_path).open()
    await room.submit(sent)
    for kill in range(9):
        async with room.running(name=f"s{kill}") as process:
            done = (await room.jobs.get("job")).files_done
            await until(lambda done=done: room.world.jobs["job"].job.files_done != done)
            process.dead = True
        room.skip(room.lifetimes.visibility_timeout_s + 1)
    async with room.running(name="last"):
        job = await room.ended()
    assert job.state is JobState.COMPLETED, job.error_message
    assert {file.state for file in await room.jobs.files("job")} == {FileState.DONE}
