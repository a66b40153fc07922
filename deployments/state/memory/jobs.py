"""The twin of RedisJobStore: what an operator and a caller do with a job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from deployments.contracts.jobs import FileSpec, FileState, FileStatus, Job, JobEvent, JobState
from deployments.errors import IllegalTransition, InvalidRequest, QueueFull
from deployments.state.memory.leased_jobs import MemoryLeasedJobs
from deployments.state.memory.world import JobEntry, World
from deployments.state.policies import EVENT_ID, JobLimits, check_files
from deployments.state.scripts import RETRY_AFTER_S


class MemoryJobStore(MemoryLeasedJobs):
    """Jobs in one process."""

    def __init__(self, world: World, limits: JobLimits | None = None) -> None:
        super().__init__(world)
        self._limits = limits or JobLimits()

    async def submit(
        self,
        job_id: str,
        collection: str,
        owner: str,
        files: Sequence[FileSpec],
        idempotency_key: str | None = None,
    ) -> Job:
        check_files(files)
        now_s = self._world.clock_s()
        if idempotency_key is not None:
            known, expires_at_s = self._world.idempotency.get((owner, idempotency_key), ("", 0.0))
            if now_s < expires_at_s:
                return self._entry(known).job
        if job_id in self._world.jobs:
            return self._entry(job_id).job
        self._demand_room(owner)
        job = Job(
            id=job_id,
            collection=collection,
            owner=owner,
            state=JobState.PENDING,
            files_total=len(files),
            bytes_total=sum(file.size_bytes for file in files),
            created_at_s=now_s,
        )
        statuses = {file.number: FileStatus(file) for file in files}
        entry = JobEntry(job, self._world.next_number(), statuses, [])
        self._world.jobs[job_id] = entry
        if idempotency_key is not None:
            expires_at_s = now_s + self._world.lifetimes.idempotency_s
            self._world.idempotency[owner, idempotency_key] = (job_id, expires_at_s)
        return self._move(entry, JobState.PENDING)

    def _demand_room(self, owner: str) -> None:
        jobs = [entry.job for entry in self._world.jobs.values() if not entry.job.state.ended]
        pending = sum(job.state is JobState.PENDING for job in jobs)
        if pending >= self._limits.max_queued_jobs:
            raise QueueFull("The ingestion queue is full.", retry_after_s=RETRY_AFTER_S)
        if sum(job.owner == owner for job in jobs) >= self._limits.max_jobs_per_owner:
            raise QueueFull(
                "This caller has as many unfinished jobs as it may have.",
                retry_after_s=RETRY_AFTER_S,
            )

    async def get(self, job_id: str) -> Job:
        return self._entry(job_id).job

    async def page(
        self,
        *,
        owner: str | None = None,
        collection: str | None = None,
        state: JobState | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> tuple[list[Job], str | None]:
        if cursor is not None and not cursor.isdecimal():
            raise InvalidRequest("The cursor is not one of ours.")
        matching = [
            entry
            for entry in self._live_entries()
            if (cursor is None or entry.number < int(cursor))
            and (owner is None or entry.job.owner == owner)
            and (collection is None or entry.job.collection == collection)
            and (state is None or entry.job.state is state)
        ]
        matching.sort(key=lambda entry: entry.number, reverse=True)
        found = matching[:limit]
        following = str(found[-1].number) if len(found) == limit else None
        return [entry.job for entry in found], following

    async def files(
        self, job_id: str, *, offset: int = 0, limit: int = 1000, state: FileState | None = None
    ) -> list[FileStatus]:
        statuses = self._entry(job_id).files.values()
        matching = [status for status in statuses if state is None or status.state is state]
        return matching[offset : offset + limit]

    async def events(self, job_id: str, after: str = "0") -> AsyncGenerator[JobEvent, None]:
        if not EVENT_ID.fullmatch(after):
            raise InvalidRequest("The event id is not one of ours.")
        seen = int(after.partition("-")[0])
        while True:
            entry = self._entry(job_id)
            news = [event for event in entry.events if int(event.id.partition("-")[0]) > seen]
            for event in news:
                seen = int(event.id.partition("-")[0])
                yield event
            if not news:
                if entry.job.state.ended:
                    return
                await asyncio.sleep(self._limits.event_poll_s)

    async def cancel(self, job_id: str) -> Job:
        entry = self._entry(job_id)
        if entry.job.state.ended:
            raise IllegalTransition(f"A job that is {entry.job.state} cannot be cancelled.")
        entry.job = replace(entry.job, cancel_requested=True)
        if entry.job.state is JobState.PROCESSING:
            return self._publish(entry)
        for status in self._unfinished(entry):
            self._put(entry, replace(status, state=FileState.CANCELLED))
        return self._move(entry, JobState.CANCELLED)

    async def resume(self, job_id: str) -> Job:
        entry = self._entry(job_id)
        self._demand_arrow(entry.job, JobState.PENDING)
        failed = [file for file in entry.files.values() if file.state is FileState.FAILED]
        cancelled = [file for file in entry.files.values() if file.state is FileState.CANCELLED]
        left = [*failed, *cancelled, *self._unfinished(entry)]
        if not left:
            raise IllegalTransition("Every file of the job is done.")
        self._demand_room(entry.job.owner)
        for status in left:
            self._put(entry, FileStatus(status.spec))
        entry.expires_at_s = None
        entry.job = replace(
            entry.job,
            cancel_requested=False,
            error_code="",
            error_message="",
            ended_at_s=0.0,
        )
        return self._move(entry, JobState.PENDING)
