"""A job's events: all of them, in order, from where a reader left off."""

from __future__ import annotations

import asyncio

import pytest

from deployments.contracts.jobs import JobEvent, JobState
from deployments.errors import InvalidRequest
from deployments.state.policies import JobLimits
from tests.state.conftest import MakeRoom, Room, files_of


async def _all(room: Room, after: str = "0") -> list[JobEvent]:
    async with asyncio.timeout(5):
        return [event async for event in room.jobs.events("job", after)]


async def test_events_tell_the_whole_story_and_then_end(room: Room) -> None:
    lease = await room.started(1)
    version = await room.jobs.begin_file("job", 0, lease)
    await room.jobs.report_file("job", 0, lease, chunks_done=1, chunks_total=2)
    await room.jobs.commit_file("job", 0, lease, version=version, chunks=2)
    last = await room.jobs.finish("job", lease)

    events = await _all(room)

    assert [event.job.state for event in events] == [
        JobState.PENDING,
        JobState.PROCESSING,
        JobState.PROCESSING,
        JobState.PROCESSING,
        JobState.COMPLETED,
    ]
    assert [event.job.chunks_done for event in events] == [0, 0, 1, 2, 2]
    assert events[-1].job == last


async def test_a_reader_that_comes_back_misses_nothing_and_sees_nothing_twice(room: Room) -> None:
    lease = await room.started(1)
    await room.jobs.skip_file("job", 0, lease)
    await room.jobs.finish("job", lease)
    events = await _all(room)

    for position, event in enumerate(events):
        assert await _all(room, event.id) == events[position + 1 :]


async def test_a_waiting_reader_sees_changes_as_they_happen(room: Room) -> None:
    await room.jobs.submit("job", room.collection, "alice", files_of(1))
    events = room.jobs.events("job")

    async with asyncio.timeout(5):
        assert (await anext(events)).job.state is JobState.PENDING
        change = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.1)
        assert not change.done()
        lease = await room.lease()
        await room.jobs.start("job", lease)
        assert (await change).job.state is JobState.PROCESSING
        await room.jobs.cancel("job")
        assert (await anext(events)).job.cancel_requested
        await room.jobs.finish("job", lease)
        assert (await anext(events)).job.state is JobState.CANCELLED
        with pytest.raises(StopAsyncIteration):
            await anext(events)


async def test_a_resumed_jobs_events_go_on_past_its_first_end(room: Room) -> None:
    await room.jobs.submit("job", room.collection, "alice", files_of(1))
    await room.jobs.cancel("job")
    await room.jobs.resume("job")
    await room.jobs.cancel("job")

    assert [event.job.state for event in await _all(room)] == [
        JobState.PENDING,
        JobState.CANCELLED,
        JobState.PENDING,
        JobState.CANCELLED,
    ]


async def test_a_made_up_event_id_is_refused(room: Room) -> None:
    await room.jobs.submit("job", room.collection, "alice", files_of(1))
    for made_up in ("abc", "1-", "-1", "1-2-3", "+"):
        with pytest.raises(InvalidRequest):
            await anext(room.jobs.events("job", made_up))


async def test_the_newest_event_is_kept_however_many_there_were(make_room: MakeRoom) -> None:
    room = make_room(limits=JobLimits(max_events=10, event_poll_s=0.01))
    lease = await room.started(1)
    version = await room.jobs.begin_file("job", 0, lease)
    for done in range(500):
        await room.jobs.report_file("job", 0, lease, chunks_done=done, chunks_total=500)
    await room.jobs.commit_file("job", 0, lease, version=version, chunks=500)
    last = await room.jobs.finish("job", lease)

    events = await _all(room)
    assert events[-1].job == last
