"""The CollectionLock's contract."""

from __future__ import annotations

import asyncio

import pytest

from deployments.errors import LeaseLost
from deployments.state.keys import Lifetimes
from tests.state.conftest import MakeRoom, Room


async def test_of_many_that_want_a_collection_one_gets_it(room: Room) -> None:
    leases = await asyncio.gather(
        *(room.lock.acquire(room.collection, f"owner-{n}") for n in range(20))
    )
    assert sum(lease is not None for lease in leases) == 1


async def test_collections_do_not_wait_for_each_other(room: Room) -> None:
    assert await room.lock.acquire("one", "a")
    assert await room.lock.acquire("two", "b")


async def test_every_lease_has_a_newer_fence(room: Room) -> None:
    fences = []
    for n in range(5):
        lease = await room.lease(f"owner-{n}")
        fences.append(lease.fence)
        await room.lock.release(lease)
    assert fences == sorted(set(fences))


async def test_a_renewed_lease_outlives_its_first_end(make_room: MakeRoom) -> None:
    room = make_room(Lifetimes(lease_s=0.3))
    lease = await room.lease("a")
    for _ in range(4):
        await asyncio.sleep(0.1)
        await room.lock.renew(lease)
    assert await room.lock.acquire(room.collection, "b") is None


async def test_an_expired_lease_cannot_be_renewed(make_room: MakeRoom) -> None:
    room = make_room(Lifetimes(lease_s=0.05))
    lease = await room.lease("a")
    await asyncio.sleep(0.1)
    with pytest.raises(LeaseLost):
        await room.lock.renew(lease)


async def test_a_late_release_leaves_the_new_owner_alone(make_room: MakeRoom) -> None:
    room = make_room(Lifetimes(lease_s=0.2))
    late = await room.lease("a")
    await asyncio.sleep(0.25)
    current = await room.lease("b")
    await room.lock.release(late)

    await room.lock.renew(current)
    assert await room.lock.acquire(room.collection, "c") is None


async def test_the_same_owner_again_loses_its_older_lease(room: Room) -> None:
    older = await room.lease("a:with:colons")
    newer = await room.lease("a:with:colons")

    assert newer.fence > older.fence
    with pytest.raises(LeaseLost):
        await room.lock.renew(older)
    await room.lock.renew(newer)
