"""The JobQueue's contract: nothing is lost, nothing is with two consumers at once."""

from __future__ import annotations

import asyncio
import time

from deployments.contracts.jobs import Claim
from deployments.state.keys import Lifetimes
from tests.state.conftest import MakeRoom, Room, files_of

IMPATIENT = Lifetimes(visibility_timeout_s=0.1)


async def _claim(room: Room, consumer: str, wait_s: float = 0) -> Claim:
    claim = await room.queue.claim(consumer, wait_s)
    assert claim is not None
    return claim


async def _submit(room: Room, *job_ids: str) -> None:
    for job_id in job_ids:
        await room.jobs.submit(job_id, room.collection, "alice", files_of(1))


async def test_an_empty_queue_gives_nothing_after_the_wait(room: Room) -> None:
    began_s = time.monotonic()
    assert await room.queue.claim("one", wait_s=0.2) is None
    assert 0.15 < time.monotonic() - began_s < 2


async def test_an_entry_that_comes_during_the_wait_is_claimed(room: Room) -> None:
    waiting = asyncio.create_task(room.queue.claim("one", wait_s=2))
    await asyncio.sleep(0.05)
    await _submit(room, "job")

    async with asyncio.timeout(1):
        claim = await waiting
    assert claim is not None
    assert claim.job_id == "job"


async def test_entries_go_out_oldest_first(room: Room) -> None:
    await _submit(room, "one", "two", "three")
    assert [(await _claim(room, "a")).job_id for _ in range(3)] == ["one", "two", "three"]


async def test_each_entry_goes_to_one_of_those_who_ask_at_once(room: Room) -> None:
    await _submit(room, *(f"job-{n}" for n in range(10)))
    claims = await asyncio.gather(*(room.queue.claim(f"c{n}", wait_s=0) for n in range(12)))

    assert sorted(claim.job_id for claim in claims if claim) == [f"job-{n}" for n in range(10)]
    assert await room.queue.depth() == 10


async def test_an_acknowledged_entry_is_gone_for_good(make_room: MakeRoom) -> None:
    room = make_room(IMPATIENT)
    await _submit(room, "job")
    claim = await _claim(room, "one")
    await room.queue.acknowledge(claim)
    await room.queue.acknowledge(claim)  # its first answer was lost
    await asyncio.sleep(0.15)

    assert await room.queue.claim("two", wait_s=0) is None
    assert await room.queue.depth() == 0


async def test_a_dead_consumers_entry_goes_to_the_next(make_room: MakeRoom) -> None:
    room = make_room(IMPATIENT)
    await _submit(room, "job")
    dead = await _claim(room, "dead")
    assert await room.queue.claim("heir", wait_s=0) is None
    await asyncio.sleep(0.15)

    inherited = await _claim(room, "heir")
    assert (inherited.job_id, inherited.deliveries) == ("job", 2)
    assert not await room.queue.heartbeat(dead, "dead")
    assert await room.queue.heartbeat(inherited, "heir")


async def test_an_abandoned_entry_is_found_behind_many_in_good_hands(make_room: MakeRoom) -> None:
    room = make_room(Lifetimes(visibility_timeout_s=1))
    await _submit(room, *(f"job-{n}" for n in range(40)))
    claims = [await _claim(room, "busy") for _ in range(40)]
    await asyncio.sleep(1.05)
    assert all(
        await asyncio.gather(*(room.queue.heartbeat(claim, "busy") for claim in claims[:-1]))
    )

    assert (await _claim(room, "heir")).job_id == "job-39"


async def test_a_heartbeat_keeps_a_claim(make_room: MakeRoom) -> None:
    room = make_room(Lifetimes(visibility_timeout_s=0.3))
    await _submit(room, "job")
    claim = await _claim(room, "one")
    for _ in range(5):
        await asyncio.sleep(0.1)
        assert await room.queue.heartbeat(claim, "one")
        assert await room.queue.claim("two", wait_s=0) is None


async def test_a_postponed_job_goes_to_the_end_and_is_no_nearer_its_burial(room: Room) -> None:
    await _submit(room, "one", "two")
    first = await _claim(room, "a")
    await room.queue.postpone(first)
    await room.queue.postpone(first)  # its first answer was lost

    assert await room.queue.depth() == 2
    assert (await _claim(room, "a")).job_id == "two"
    again = await _claim(room, "a")
    assert (again.job_id, again.deliveries) == ("one", 1)


async def test_a_released_job_keeps_its_place_and_is_no_nearer_its_burial(room: Room) -> None:
    await _submit(room, "one", "two", "three")
    first = await _claim(room, "ends")
    second = await _claim(room, "works")
    await room.queue.release(first, "ends")
    await room.queue.release(first, "ends")  # its first answer was lost

    assert not await room.queue.heartbeat(first, "ends")
    again = await _claim(room, "next")
    assert (again.entry_id, again.job_id, again.deliveries) == (first.entry_id, "one", 1)
    assert (await _claim(room, "next")).job_id == "three"
    assert await room.queue.heartbeat(second, "works")
    assert await room.queue.depth() == 3


async def test_a_claim_that_another_has_taken_over_is_not_released(make_room: MakeRoom) -> None:
    room = make_room(IMPATIENT)
    await _submit(room, "job")
    lost = await _claim(room, "slow")
    await asyncio.sleep(0.15)
    taken = await _claim(room, "heir")
    await room.queue.release(lost, "slow")

    assert await room.queue.heartbeat(taken, "heir")
    assert await room.queue.claim("third", wait_s=0) is None


async def test_tries_are_counted_across_a_postponement(make_room: MakeRoom) -> None:
    room = make_room(IMPATIENT)
    await _submit(room, "job")
    await _claim(room, "dead")
    await asyncio.sleep(0.15)
    second = await _claim(room, "two")
    await room.queue.postpone(second)

    assert (await _claim(room, "three")).deliveries == 2


async def test_a_poison_job_is_buried_with_its_reason(make_room: MakeRoom) -> None:
    room = make_room(IMPATIENT)
    await _submit(room, "job")
    await _claim(room, "one")
    await asyncio.sleep(0.15)
    claim = await _claim(room, "two")
    await room.queue.bury(claim, "It killed two supervisors.")
    await room.queue.bury(claim, "It killed two supervisors.")
    await asyncio.sleep(0.15)

    assert await room.queue.claim("three", wait_s=0) is None
    assert await room.queue.depth() == 0
    [letter] = await room.queue.buried()
    assert (letter.job_id, letter.collection, letter.deliveries, letter.reason) == (
        "job",
        room.collection,
        2,
        "It killed two supervisors.",
    )
