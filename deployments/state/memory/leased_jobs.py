"""The twin of LeasedJobs: what a supervisor does with a job under its lease.

Counters are not kept but summed over the files whenever a job is published.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from deployments.contracts.jobs import (
    FileState,
    FileStatus,
    Job,
    JobEvent,
    JobState,
    Lease,
    Transition,
)
from deployments.errors import CollectionNotFound, IllegalTransition, JobNotFound, LeaseLost
from deployments.state.memory.versions import abort_version, retire_version
from deployments.state.memory.world import JobEntry, World
from deployments.state.policies import LONGEST_MESSAGE_CHARS

_ARROWS = {
    JobState.PENDING: {JobState.PROCESSING, JobState.CANCELLED, JobState.FAILED},
    JobState.PROCESSING: {JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED},
    JobState.COMPLETED: {JobState.PENDING},
    JobState.FAILED: {JobState.PENDING},
    JobState.CANCELLED: {JobState.PENDING},
}
_OPEN = (FileState.PENDING, FileState.PROCESSING)
_DONE = (FileState.DONE, FileState.UNCHANGED)


class MemoryLeasedJobs:
    """The part of the JobStore that demands a lease."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def start(self, job_id: str, lease: Lease) -> Job:
        entry = self._under_lease(job_id, lease)
        if entry.number < self._world.collection(lease.collection).dropped:
            raise CollectionNotFound("The collection was deleted after the job had been submitted.")
        if entry.job.state is JobState.PROCESSING and entry.fence == lease.fence:
            return entry.job
        if entry.job.state is not JobState.PROCESSING:
            self._demand_arrow(entry.job, JobState.PROCESSING)
        entry.fence = lease.fence
        entry.job = replace(
            entry.job,
            attempts=entry.job.attempts + 1,
            started_at_s=entry.job.started_at_s or self._world.clock_s(),
        )
        if entry.job.state is JobState.PROCESSING:
            return self._publish(entry)
        return self._move(entry, JobState.PROCESSING)

    async def begin_file(self, job_id: str, number: int, lease: Lease) -> int:
        entry, status = self._working(job_id, number, lease)
        self._demand_open(status)
        self._abort_attempt(entry, status)
        version = self._world.next_number()
        self._world.collection(lease.collection).hidden.add(version)
        self._put(entry, FileStatus(status.spec, FileState.PROCESSING, version))
        if status.chunks_total:
            self._publish(entry)
        return version

    async def report_file(
        self, job_id: str, number: int, lease: Lease, *, chunks_done: int, chunks_total: int
    ) -> Job:
        entry, status = self._working(job_id, number, lease)
        if status.state is not FileState.PROCESSING:
            raise IllegalTransition(f"A file that is {status.state} makes no progress.")
        self._put(entry, replace(status, chunks_done=chunks_done, chunks_total=chunks_total))
        return self._publish(entry)

    async def commit_file(
        self,
        job_id: str,
        number: int,
        lease: Lease,
        *,
        version: int,
        chunks: int,
        replaces: Sequence[int] = (),
    ) -> None:
        entry, status = self._working(job_id, number, lease)
        if status.version == version and status.state is FileState.DONE:
            return
        if status.version != version or status.state is not FileState.PROCESSING:
            raise IllegalTransition(f"Version {version} is not the attempt in progress.")
        collection = self._world.collection(lease.collection)
        if version not in collection.forget_at_s:
            collection.hidden.discard(version)
        for replaced in replaces:
            if replaced != version:
                retire_version(self._world, lease.collection, replaced)
        collection.epoch = self._world.next_number()
        done = replace(status, state=FileState.DONE, chunks_done=chunks, chunks_total=chunks)
        self._put(entry, done)
        self._publish(entry)

    async def skip_file(self, job_id: str, number: int, lease: Lease) -> None:
        entry, status = self._working(job_id, number, lease)
        if status.state is FileState.UNCHANGED:
            return
        self._demand_open(status)
        self._abort_attempt(entry, status)
        self._put(entry, FileStatus(status.spec, FileState.UNCHANGED))
        self._publish(entry)

    async def fail_file(
        self, job_id: str, number: int, lease: Lease, code: str, message: str
    ) -> None:
        entry, status = self._working(job_id, number, lease)
        if status.state is FileState.FAILED:
            return
        self._demand_open(status)
        self._abort_attempt(entry, status)
        failed = FileStatus(
            status.spec,
            FileState.FAILED,
            error_code=code,
            error_message=message[:LONGEST_MESSAGE_CHARS],
        )
        self._put(entry, failed)
        self._publish(entry)

    async def finish(
        self, job_id: str, lease: Lease, *, error_code: str = "", error_message: str = ""
    ) -> Job:
        entry = self._under_lease(job_id, lease)
        if entry.job.state.ended and entry.fence == lease.fence:
            return entry.job
        state = JobState.COMPLETED
        if entry.job.cancel_requested:
            state = JobState.CANCELLED
        elif error_code:
            state = JobState.FAILED
        self._demand_arrow(entry.job, state)
        left = self._unfinished(entry)
        if state is JobState.COMPLETED and left:
            raise IllegalTransition("A job with files left to do cannot become COMPLETED.")
        after = FileState.CANCELLED if state is JobState.CANCELLED else FileState.PENDING
        for status in left:
            self._abort_attempt(entry, status)
            self._put(entry, FileStatus(status.spec, after))
        entry.fence = lease.fence
        if state is JobState.FAILED:
            entry.job = replace(
                entry.job,
                error_code=error_code,
                error_message=error_message[:LONGEST_MESSAGE_CHARS],
            )
        return self._move(entry, state)

    # Entries

    def _live_entries(self) -> Iterable[JobEntry]:
        now_s = self._world.clock_s()
        for job_id, entry in list(self._world.jobs.items()):
            if entry.expires_at_s is not None and entry.expires_at_s <= now_s:
                del self._world.jobs[job_id]
            else:
                yield entry

    def _entry(self, job_id: str) -> JobEntry:
        for entry in self._live_entries():
            if entry.job.id == job_id:
                return entry
        raise JobNotFound("No such job.")

    def _under_lease(self, job_id: str, lease: Lease) -> JobEntry:
        entry = self._entry(job_id)
        newest = self._world.collection(lease.collection).fence
        if entry.job.collection != lease.collection or newest != lease.fence:
            raise LeaseLost("Another supervisor holds the collection now.")
        return entry

    def _working(self, job_id: str, number: int, lease: Lease) -> tuple[JobEntry, FileStatus]:
        entry = self._under_lease(job_id, lease)
        if entry.job.state is not JobState.PROCESSING:
            raise IllegalTransition(f"A job that is {entry.job.state} has no file to work on.")
        if number not in entry.files:
            raise IllegalTransition(f"The job has no file {number}.")
        return entry, entry.files[number]

    @staticmethod
    def _demand_arrow(job: Job, state: JobState) -> None:
        if state not in _ARROWS[job.state]:
            raise IllegalTransition(f"A job that is {job.state} cannot become {state}.")

    @staticmethod
    def _demand_open(status: FileStatus) -> None:
        if status.state not in _OPEN:
            raise IllegalTransition(f"A file that is {status.state} is not being worked on.")

    @staticmethod
    def _unfinished(entry: JobEntry) -> list[FileStatus]:
        return [status for status in entry.files.values() if status.state in _OPEN]

    @staticmethod
    def _put(entry: JobEntry, status: FileStatus) -> None:
        entry.files[status.spec.number] = status

    def _abort_attempt(self, entry: JobEntry, status: FileStatus) -> None:
        if status.state is FileState.PROCESSING:
            abort_version(self._world, entry.job.collection, status.version)

    def _move(self, entry: JobEntry, state: JobState) -> Job:
        now_s = self._world.clock_s()
        transitions = (*entry.job.transitions, Transition(state, now_s))
        entry.job = replace(entry.job, state=state, transitions=transitions)
        if state is JobState.PENDING:
            self._world.enqueue(entry.job.id, entry.job.collection)
        if state.ended:
            entry.job = replace(entry.job, ended_at_s=now_s)
            entry.expires_at_s = now_s + self._world.lifetimes.job_s
        return self._publish(entry)

    def _publish(self, entry: JobEntry) -> Job:
        files = entry.files.values()
        entry.job = replace(
            entry.job,
            files_done=sum(file.state in _DONE for file in files),
            files_unchanged=sum(file.state is FileState.UNCHANGED for file in files),
            files_failed=sum(file.state is FileState.FAILED for file in files),
            chunks_done=sum(file.chunks_done for file in files),
            chunks_total=sum(file.chunks_total for file in files),
            bytes_done=sum(file.spec.size_bytes for file in files if file.state in _DONE),
        )
        entry.events.append(JobEvent(f"{self._world.next_number()}-0", entry.job))
        return entry.job
