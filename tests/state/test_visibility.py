"""What searches may see, at every moment of a write."""

from __future__ import annotations

import asyncio
import time

import pytest

from deployments.contracts.jobs import JobState
from deployments.errors import CollectionNotFound, LeaseLost
from deployments.state.keys import Lifetimes
from tests.state.conftest import MakeRoom, Room, files_of

DAY_S = 24 * 3600


async def _committed(room: Room, replaces: tuple[int, ...] = (), job_id: str = "job") -> int:
    lease = await room.started(1, job_id=job_id)
    version = await room.jobs.begin_file(job_id, 0, lease)
    await room.jobs.commit_file(job_id, 0, lease, version=version, chunks=1, replaces=replaces)
    await room.jobs.finish(job_id, lease)
    return version


async def test_a_version_is_hidden_until_its_commit(room: Room) -> None:
    lease = await room.started(1)
    before = await room.visibility.snapshot(room.collection)
    version = await room.jobs.begin_file("job", 0, lease)
    assert await room.hidden() == {version}
    assert (await room.visibility.snapshot(room.collection)).epoch == before.epoch

    await room.jobs.commit_file("job", 0, lease, version=version, chunks=1)
    after = await room.visibility.snapshot(room.collection)
    assert after.hidden_versions == frozenset()
    assert after.epoch > before.epoch
    assert not after.stale


async def test_a_commit_hides_what_it_replaces_in_the_same_step(room: Room) -> None:
    old = await _committed(room)
    lease = await room.started(1, job_id="second")
    new = await room.jobs.begin_file("second", 0, lease)
    stop = asyncio.Event()
    seen: set[frozenset[int]] = set()

    async def watch() -> None:
        while not stop.is_set():
            seen.add(await room.hidden())
            await asyncio.sleep(0)

    watcher = asyncio.create_task(watch())
    await asyncio.sleep(0.05)
    await room.jobs.commit_file("second", 0, lease, version=new, chunks=1, replaces=[old])
    await asyncio.sleep(0.05)
    stop.set()
    await watcher

    # Never both, never neither.
    assert seen == {frozenset({new}), frozenset({old})}


async def test_replaced_chunks_stay_until_older_searches_are_done(room: Room) -> None:
    old = await _committed(room)
    await _committed(room, replaces=(old,), job_id="second")
    now_s = time.time()

    assert await room.visibility.due(now_s + 25) == []
    assert await room.visibility.due(now_s + 35) == [(room.collection, old)]


async def test_a_swept_replaced_version_is_forgotten_in_the_end(make_room: MakeRoom) -> None:
    room = make_room(Lifetimes(grace_s=0.1, settle_s=0.2))
    old = await _committed(room)
    await _committed(room, replaces=(old,), job_id="second")
    await asyncio.sleep(0.15)
    await room.visibility.swept(room.collection, old)
    assert await room.hidden() == {old}  # a store with bounded staleness may still show it
    assert await room.visibility.due(time.time()) == []
    await asyncio.sleep(0.25)

    assert await room.visibility.due(time.time()) == [(room.collection, old)]
    await room.visibility.swept(room.collection, old)
    assert await room.hidden() == frozenset()
    assert await room.visibility.due(time.time() + DAY_S) == []


@pytest.mark.parametrize("end", ["fail", "skip", "cancel", "error", "again"])
async def test_an_aborted_version_is_swept_at_once_and_hidden_for_a_day(
    room: Room, end: str
) -> None:
    lease = await room.started(1)
    version = await room.jobs.begin_file("job", 0, lease)
    match end:
        case "fail":
            await room.jobs.fail_file("job", 0, lease, "damaged_document", "Bad.")
        case "skip":
            await room.jobs.skip_file("job", 0, lease)
        case "cancel":
            await room.jobs.cancel("job")
            await room.jobs.finish("job", lease)
        case "error":
            await room.jobs.finish("job", lease, error_code="store_unavailable")
        case "again":
            await room.jobs.begin_file("job", 0, lease)

    now_s = time.time() + 0.01
    assert await room.visibility.due(now_s) == [(room.collection, version)]
    await room.visibility.swept(room.collection, version)
    assert version in await room.hidden()
    assert await room.visibility.due(now_s + DAY_S - 60) == []
    assert await room.visibility.due(now_s + DAY_S + 60) == [(room.collection, version)]


async def test_after_a_day_an_aborted_version_is_swept_again_then_forgotten(
    make_room: MakeRoom,
) -> None:
    room = make_room(Lifetimes(tombstone_s=0.2))
    lease = await room.started(1)
    version = await room.jobs.begin_file("job", 0, lease)
    await room.jobs.fail_file("job", 0, lease, "damaged_document", "Bad.")
    await room.visibility.swept(room.collection, version)
    await asyncio.sleep(0.25)

    assert await room.visibility.due(time.time()) == [(room.collection, version)]
    assert version in await room.hidden()
    await room.visibility.swept(room.collection, version)
    assert await room.hidden() == frozenset()


async def test_the_sweep_cannot_show_a_version_that_is_being_written(room: Room) -> None:
    lease = await room.started(1)
    version = await room.jobs.begin_file("job", 0, lease)
    await room.visibility.swept(room.collection, version)

    assert await room.hidden() == {version}


async def test_a_deleted_document_is_hidden_at_once(room: Room) -> None:
    version = await _committed(room)
    before = await room.visibility.snapshot(room.collection)
    await room.visibility.hide(room.collection, [version])
    after = await room.visibility.snapshot(room.collection)

    assert after.hidden_versions == {version}
    assert after.epoch > before.epoch


async def test_a_document_deleted_while_it_is_written_stays_deleted(make_room: MakeRoom) -> None:
    room = make_room(Lifetimes(grace_s=0.01, settle_s=0.01))
    lease = await room.started(1)
    version = await room.jobs.begin_file("job", 0, lease)
    await room.visibility.hide(room.collection, [version])
    await asyncio.sleep(0.05)
    await room.visibility.swept(room.collection, version)
    assert await room.hidden() == {version}  # its writer goes on writing

    await room.jobs.commit_file("job", 0, lease, version=version, chunks=1)
    assert await room.hidden() == {version}
    assert (await room.jobs.get("job")).files_done == 1


async def test_collections_hide_for_themselves(room: Room) -> None:
    version = await _committed(room)
    await room.visibility.hide("other", [version])
    assert await room.hidden() == frozenset()


async def test_writers_of_a_dropped_collection_are_refused(room: Room) -> None:
    lease = await room.started(1, 2)
    open_version = await room.jobs.begin_file("job", 0, lease)
    epoch = (await room.visibility.snapshot(room.collection)).epoch
    await room.visibility.forget(room.collection)

    with pytest.raises(LeaseLost):
        await room.jobs.commit_file("job", 0, lease, version=open_version, chunks=1)
    with pytest.raises(LeaseLost):
        await room.lock.renew(lease)
    snapshot = await room.visibility.snapshot(room.collection)
    assert snapshot.epoch > epoch
    assert open_version in snapshot.hidden_versions  # not in a new collection of that name either
    assert await room.lock.acquire(room.collection, "next") is not None


async def test_a_job_is_not_started_on_a_new_collection_of_the_name_of_a_dropped_one(
    room: Room,
) -> None:
    lease = await room.started(1)
    await room.jobs.submit("waiting", room.collection, "alice", files_of(1))
    await room.visibility.forget(room.collection)
    await room.jobs.submit("new", room.collection, "alice", files_of(1))

    lease = await room.lease("next")
    for job_id in ("job", "waiting"):
        with pytest.raises(CollectionNotFound):
            await room.jobs.start(job_id, lease)
        ended = await room.jobs.finish(job_id, lease, error_code="collection_not_found")
        assert ended.state is JobState.FAILED
    assert (await room.jobs.start("new", lease)).state is JobState.PROCESSING


async def test_versions_fences_and_epochs_never_come_into_use_again(room: Room) -> None:
    """Where the state was lost, the store may still hold what older numbers wrote."""
    began_ms = int(time.time() * 1000) - 1000
    lease = await room.started(1)
    version = await room.jobs.begin_file("job", 0, lease)
    await room.jobs.commit_file("job", 0, lease, version=version, chunks=1)
    epoch = (await room.visibility.snapshot(room.collection)).epoch

    assert began_ms < lease.fence < version < epoch
