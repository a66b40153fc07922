"""The JobStore's contract, on the twin and on Valkey."""

from __future__ import annotations

import asyncio

import pytest

from deployments.contracts.jobs import FileState, JobState, Lease
from deployments.errors import (
    IllegalTransition,
    InvalidRequest,
    JobNotFound,
    LeaseLost,
    QueueFull,
)
from deployments.state.keys import Lifetimes
from deployments.state.policies import JobLimits
from tests.state.conftest import MakeRoom, Room, files_of


async def test_a_submitted_job_is_pending_and_queued(room: Room) -> None:
    job = await room.jobs.submit("job", room.collection, "alice", files_of(10, 20))

    assert (job.state, job.files_total, job.bytes_total) == (JobState.PENDING, 2, 30)
    assert (job.owner, job.collection) == ("alice", room.collection)
    assert [step.state for step in job.transitions] == [JobState.PENDING]
    assert job == await room.jobs.get("job")
    claim = await room.queue.claim("supervisor", wait_s=0)
    assert claim is not None
    assert (claim.job_id, claim.collection, claim.deliveries) == ("job", room.collection, 1)


async def test_files_come_back_as_they_were_given(room: Room) -> None:
    files = files_of(10, 20, 30)
    await room.jobs.submit("job", room.collection, "alice", files)

    assert [file.spec for file in await room.jobs.files("job")] == files
    assert [file.spec.number for file in await room.jobs.files("job", offset=1, limit=1)] == [1]


async def test_an_unknown_job_is_not_found(room: Room) -> None:
    for call in (
        room.jobs.get("no"),
        room.jobs.cancel("no"),
        room.jobs.resume("no"),
        room.jobs.files("no"),
        room.jobs.start("no", await room.lease()),
        anext(room.jobs.events("no")),
    ):
        with pytest.raises(JobNotFound):
            await call


async def test_the_same_idempotency_key_gives_the_first_job_again(room: Room) -> None:
    first = await room.jobs.submit("one", room.collection, "alice", files_of(1), "key")
    again = await room.jobs.submit("two", room.collection, "alice", files_of(1), "key")
    other = await room.jobs.submit("three", room.collection, "bob", files_of(1), "key")

    assert again == first
    assert other.id == "three"
    assert await room.queue.depth() == 2
    with pytest.raises(JobNotFound):
        await room.jobs.get("two")


async def test_fifty_submissions_at_once_with_one_key_make_one_job(room: Room) -> None:
    jobs = await asyncio.gather(
        *(
            room.jobs.submit(f"job-{n}", room.collection, "alice", files_of(1), "key")
            for n in range(50)
        )
    )

    assert len({job.id for job in jobs}) == 1
    assert await room.queue.depth() == 1


async def test_a_submission_sent_again_changes_nothing(room: Room) -> None:
    await room.jobs.submit("job", room.collection, "alice", files_of(1))
    await room.jobs.submit("job", room.collection, "alice", files_of(1))

    assert await room.queue.depth() == 1
    assert len(await room.jobs.files("job")) == 1


async def test_two_files_with_one_number_are_refused(room: Room) -> None:
    with pytest.raises(InvalidRequest):
        await room.jobs.submit("job", room.collection, "alice", files_of(1) + files_of(1))


async def test_a_full_queue_refuses_until_a_job_leaves_it(make_room: MakeRoom) -> None:
    room = make_room(limits=JobLimits(max_queued_jobs=2))
    await room.jobs.submit("one", room.collection, "alice", files_of(1))
    await room.jobs.submit("two", room.collection, "bob", files_of(1))

    with pytest.raises(QueueFull) as refusal:
        await room.jobs.submit("three", room.collection, "carol", files_of(1))
    assert refusal.value.details["retry_after_s"] > 0
    with pytest.raises(JobNotFound):
        await room.jobs.get("three")

    await room.jobs.cancel("one")
    await room.jobs.submit("three", room.collection, "carol", files_of(1))
    with pytest.raises(QueueFull):
        await room.jobs.resume("one")


async def test_an_owner_has_only_so_many_unfinished_jobs(make_room: MakeRoom) -> None:
    room = make_room(limits=JobLimits(max_jobs_per_owner=1))
    lease = await room.started(1)

    with pytest.raises(QueueFull):
        await room.jobs.submit("two", room.collection, "alice", files_of(1))
    await room.jobs.submit("bobs", room.collection, "bob", files_of(1))

    await room.jobs.skip_file("job", 0, lease)
    await room.jobs.finish("job", lease)
    await room.jobs.submit("two", room.collection, "alice", files_of(1))


async def test_a_job_goes_from_pending_to_completed(room: Room) -> None:
    lease = await room.started(100, 200)
    version = await room.jobs.begin_file("job", 0, lease)
    await room.jobs.report_file("job", 0, lease, chunks_done=3, chunks_total=7)
    job = await room.jobs.get("job")
    assert (job.chunks_done, job.chunks_total, job.bytes_done) == (3, 7, 0)

    await room.jobs.commit_file("job", 0, lease, version=version, chunks=7)
    await room.jobs.skip_file("job", 1, lease)
    job = await room.jobs.finish("job", lease)

    assert [step.state for step in job.transitions] == [
        JobState.PENDING,
        JobState.PROCESSING,
        JobState.COMPLETED,
    ]
    assert (job.files_done, job.files_unchanged, job.files_failed) == (2, 1, 0)
    assert (job.chunks_done, job.chunks_total, job.bytes_done) == (7, 7, 300)
    assert 0 < job.created_at_s <= job.started_at_s <= job.ended_at_s
    assert [file.state for file in await room.jobs.files("job")] == [
        FileState.DONE,
        FileState.UNCHANGED,
    ]


async def test_one_bad_file_fails_alone_with_its_reason(room: Room) -> None:
    lease = await room.started(100, 200)
    await room.jobs.begin_file("job", 0, lease)
    await room.jobs.report_file("job", 0, lease, chunks_done=2, chunks_total=9)
    await room.jobs.fail_file("job", 0, lease, "damaged_document", "Seite 3 ist kaputt: é")
    await room.jobs.skip_file("job", 1, lease)
    job = await room.jobs.finish("job", lease)

    assert (job.state, job.files_failed, job.files_done) == (JobState.COMPLETED, 1, 1)
    assert (job.chunks_done, job.chunks_total, job.bytes_done) == (0, 0, 200)
    [failed] = await room.jobs.files("job", state=FileState.FAILED)
    assert (failed.error_code, failed.error_message) == (
        "damaged_document",
        "Seite 3 ist kaputt: é",
    )


async def test_a_job_with_files_left_cannot_be_completed(room: Room) -> None:
    lease = await room.started(1, 2)
    await room.jobs.skip_file("job", 0, lease)

    with pytest.raises(IllegalTransition):
        await room.jobs.finish("job", lease)
    assert (await room.jobs.get("job")).state is JobState.PROCESSING


async def test_a_pending_job_is_cancelled_at_once(room: Room) -> None:
    await room.jobs.submit("job", room.collection, "alice", files_of(1, 2))
    job = await room.jobs.cancel("job")

    assert job.state is JobState.CANCELLED
    assert {file.state for file in await room.jobs.files("job")} == {FileState.CANCELLED}
    with pytest.raises(IllegalTransition):
        await room.jobs.start("job", await room.lease())


async def test_a_running_job_learns_of_its_cancellation_from_its_report(room: Room) -> None:
    lease = await room.started(1, 2, 3)
    kept = await room.jobs.begin_file("job", 0, lease)
    await room.jobs.commit_file("job", 0, lease, version=kept, chunks=4)
    dropped = await room.jobs.begin_file("job", 1, lease)
    assert (await room.jobs.cancel("job")).state is JobState.PROCESSING
    await room.jobs.cancel("job")  # asking twice is no error

    report = await room.jobs.report_file("job", 1, lease, chunks_done=1, chunks_total=2)
    assert report.cancel_requested
    job = await room.jobs.finish("job", lease)

    assert job.state is JobState.CANCELLED
    assert [file.state for file in await room.jobs.files("job")] == [
        FileState.DONE,
        FileState.CANCELLED,
        FileState.CANCELLED,
    ]
    assert (job.chunks_done, job.chunks_total) == (4, 4)
    assert await room.hidden() == {dropped}


async def test_an_ended_job_cannot_be_cancelled(room: Room) -> None:
    await room.jobs.submit("job", room.collection, "alice", files_of(1))
    await room.jobs.cancel("job")

    with pytest.raises(IllegalTransition):
        await room.jobs.cancel("job")


async def test_a_failed_job_keeps_its_reason_and_its_unfinished_files(room: Room) -> None:
    lease = await room.started(1, 2)
    await room.jobs.begin_file("job", 0, lease)
    job = await room.jobs.finish("job", lease, error_code="store_unavailable", error_message="No.")

    assert (job.state, job.error_code, job.error_message) == (
        JobState.FAILED,
        "store_unavailable",
        "No.",
    )
    assert {file.state for file in await room.jobs.files("job")} == {FileState.PENDING}


async def test_a_poison_job_that_never_started_can_be_failed(room: Room) -> None:
    await room.jobs.submit("job", room.collection, "alice", files_of(1))
    job = await room.jobs.finish("job", await room.lease(), error_code="poison")

    assert job.state is JobState.FAILED


async def test_resuming_queues_again_only_what_is_not_done(room: Room) -> None:
    lease = await room.started(10, 20, 30)
    version = await room.jobs.begin_file("job", 0, lease)
    await room.jobs.commit_file("job", 0, lease, version=version, chunks=5)
    await room.jobs.fail_file("job", 1, lease, "damaged_document", "Bad.")
    await room.jobs.finish("job", lease, error_code="embedding_unavailable")
    depth = await room.queue.depth()

    job = await room.jobs.resume("job")

    assert (job.state, job.error_code, job.ended_at_s) == (JobState.PENDING, "", 0.0)
    assert (job.files_done, job.files_failed, job.chunks_done, job.bytes_done) == (1, 0, 5, 10)
    assert [file.state for file in await room.jobs.files("job")] == [
        FileState.DONE,
        FileState.PENDING,
        FileState.PENDING,
    ]
    assert await room.queue.depth() == depth + 1
    lease = await room.lease()
    await room.jobs.start("job", lease)
    with pytest.raises(IllegalTransition):
        await room.jobs.begin_file("job", 0, lease)
    for number in (1, 2):
        version = await room.jobs.begin_file("job", number, lease)
        await room.jobs.commit_file("job", number, lease, version=version, chunks=2)
    job = await room.jobs.finish("job", lease)
    assert (job.state, job.chunks_done, job.bytes_done, job.files_done) == (
        JobState.COMPLETED,
        9,
        60,
        3,
    )


async def test_a_job_with_nothing_left_to_do_cannot_be_resumed(room: Room) -> None:
    lease = await room.started(1)
    with pytest.raises(IllegalTransition):
        await room.jobs.resume("job")
    await room.jobs.skip_file("job", 0, lease)
    await room.jobs.finish("job", lease)

    with pytest.raises(IllegalTransition):
        await room.jobs.resume("job")


async def test_steps_whose_answer_was_lost_can_be_sent_again(room: Room) -> None:
    lease = await room.started(10, 20, 30)
    version = await room.jobs.begin_file("job", 0, lease)
    for _ in range(2):
        await room.jobs.commit_file("job", 0, lease, version=version, chunks=5, replaces=[7])
        await room.jobs.skip_file("job", 1, lease)
        await room.jobs.fail_file("job", 2, lease, "damaged_document", "Bad.")
        await room.jobs.start("job", lease)
    first = await room.jobs.finish("job", lease)
    again = await room.jobs.finish("job", lease)

    assert first == again
    assert (first.files_done, first.files_failed, first.chunks_done, first.bytes_done) == (
        2,
        1,
        5,
        30,
    )
    assert first.attempts == 1
    assert len(first.transitions) == 3


async def test_jobs_are_listed_newest_first_page_by_page(room: Room) -> None:
    for n in range(5):
        owner = "alice" if n % 2 else "bob"
        await room.jobs.submit(f"job-{n}", room.collection, owner, files_of(1))
    await room.jobs.cancel("job-3")

    page, cursor = await room.jobs.page(limit=3)
    rest, end = await room.jobs.page(limit=3, cursor=cursor)
    assert [job.id for job in page + rest] == ["job-4", "job-3", "job-2", "job-1", "job-0"]
    assert end is None
    by_owner, _ = await room.jobs.page(owner="alice", collection=room.collection)
    assert [job.id for job in by_owner] == ["job-3", "job-1"]
    cancelled, _ = await room.jobs.page(state=JobState.CANCELLED)
    assert [job.id for job in cancelled] == ["job-3"]
    assert (await room.jobs.page(collection="other"))[0] == []
    with pytest.raises(InvalidRequest):
        await room.jobs.page(cursor="'); drop")


async def test_a_record_expires_after_the_end_and_leaves_the_lists(make_room: MakeRoom) -> None:
    room = make_room(Lifetimes(job_s=0.2))
    await room.jobs.submit("job", room.collection, "alice", files_of(1))
    await asyncio.sleep(0.3)
    await room.jobs.cancel("job")  # unfinished jobs do not expire
    assert (await room.jobs.page(owner="alice"))[0] != []
    await asyncio.sleep(0.3)

    with pytest.raises(JobNotFound):
        await room.jobs.get("job")
    with pytest.raises(JobNotFound):
        await room.jobs.files("job")
    assert await room.jobs.page(owner="alice") == ([], None)


async def test_a_resumed_record_does_not_expire(make_room: MakeRoom) -> None:
    room = make_room(Lifetimes(job_s=0.3))
    await room.jobs.submit("job", room.collection, "alice", files_of(1))
    await room.jobs.cancel("job")
    await room.jobs.resume("job")
    await asyncio.sleep(0.4)

    assert (await room.jobs.get("job")).state is JobState.PENDING
    assert len(await room.jobs.files("job")) == 1


async def test_an_idempotency_key_is_forgotten_in_time(make_room: MakeRoom) -> None:
    room = make_room(Lifetimes(idempotency_s=0.1))
    await room.jobs.submit("one", room.collection, "alice", files_of(1), "key")
    await asyncio.sleep(0.15)

    assert (await room.jobs.submit("two", room.collection, "alice", files_of(1), "key")).id == "two"


# Two supervisors


async def test_an_older_fence_cannot_write_anything(make_room: MakeRoom) -> None:
    room = make_room(Lifetimes(lease_s=0.05))
    paused = await room.started(1, 2)
    version = await room.jobs.begin_file("job", 0, paused)
    await asyncio.sleep(0.1)  # its lease runs out
    newer = await room.lease("other")
    await room.jobs.start("job", newer)
    before = (await room.jobs.get("job"), await room.jobs.files("job"), await room.hidden())

    for write in (
        room.jobs.start("job", paused),
        room.jobs.begin_file("job", 1, paused),
        room.jobs.report_file("job", 0, paused, chunks_done=1, chunks_total=1),
        room.jobs.commit_file("job", 0, paused, version=version, chunks=1),
        room.jobs.skip_file("job", 1, paused),
        room.jobs.fail_file("job", 1, paused, "x", "y"),
        room.jobs.finish("job", paused, error_code="x"),
        room.lock.renew(paused),
    ):
        with pytest.raises(LeaseLost):
            await write
    assert before == (
        await room.jobs.get("job"),
        await room.jobs.files("job"),
        await room.hidden(),
    )
    assert version in await room.hidden()


async def test_a_lease_on_another_collection_opens_nothing(room: Room) -> None:
    await room.jobs.submit("job", room.collection, "alice", files_of(1))
    elsewhere = await room.lock.acquire("elsewhere", "supervisor")
    assert elsewhere is not None

    with pytest.raises(LeaseLost):
        await room.jobs.start("job", elsewhere)
    with pytest.raises(LeaseLost):
        await room.jobs.start("job", Lease(room.collection, "supervisor", elsewhere.fence))


async def test_a_takeover_goes_on_where_the_dead_one_stopped(make_room: MakeRoom) -> None:
    room = make_room(Lifetimes(lease_s=0.05))
    dead = await room.started(10, 20)
    done = await room.jobs.begin_file("job", 0, dead)
    await room.jobs.commit_file("job", 0, dead, version=done, chunks=5)
    lost = await room.jobs.begin_file("job", 1, dead)
    await room.jobs.report_file("job", 1, dead, chunks_done=8, chunks_total=9)
    await asyncio.sleep(0.1)

    lease = await room.lease("other")
    job = await room.jobs.start("job", lease)
    assert (job.attempts, len(job.transitions)) == (2, 2)
    version = await room.jobs.begin_file("job", 1, lease)
    assert await room.hidden() == {lost, version}
    job = await room.jobs.get("job")
    assert (job.chunks_done, job.chunks_total) == (5, 5)
    with pytest.raises(IllegalTransition):
        await room.jobs.commit_file("job", 1, lease, version=lost, chunks=9)
    await room.jobs.commit_file("job", 1, lease, version=version, chunks=9)
    job = await room.jobs.finish("job", lease)

    assert (job.chunks_done, job.bytes_done, job.files_done) == (14, 30, 2)
    assert await room.hidden() == {lost}


async def test_of_twenty_commits_at_once_one_counts(room: Room) -> None:
    lease = await room.started(10)
    version = await room.jobs.begin_file("job", 0, lease)
    await asyncio.gather(
        *(
            room.jobs.commit_file("job", 0, lease, version=version, chunks=3, replaces=[5])
            for _ in range(20)
        )
    )

    job = await room.jobs.get("job")
    assert (job.files_done, job.chunks_done, job.bytes_done) == (1, 3, 10)


async def test_cancel_and_finish_at_once_never_lose_each_other(room: Room) -> None:
    for n in range(20):
        job_id = f"job-{n}"
        lease = await room.started(1, job_id=job_id)
        await room.jobs.skip_file(job_id, 0, lease)
        cancelled, finished = await asyncio.gather(
            room.jobs.cancel(job_id), room.jobs.finish(job_id, lease), return_exceptions=True
        )
        state = (await room.jobs.get(job_id)).state
        assert not isinstance(finished, BaseException)
        if isinstance(cancelled, IllegalTransition):
            assert state is JobState.COMPLETED
        else:
            assert state is JobState.CANCELLED
