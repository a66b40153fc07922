"""Takes jobs from the queue and sees them through, whatever dies on the way.

A supervisor owns nothing that matters: the job's record, its lease and its progress are in
Redis, the chunks in the vector store. One that dies is replaced by another that claims the same
entry once its heartbeat has been silent for long enough.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from deployments.contracts.jobs import (
    Claim,
    CollectionLock,
    FileSpec,
    FileState,
    Job,
    JobQueue,
    JobState,
    JobStore,
    Lease,
    Visibility,
)
from deployments.contracts.retrieval import VectorStore
from deployments.errors import (
    CollectionNotFound,
    DependencyError,
    IllegalTransition,
    JobCancelled,
    JobNotFound,
    LeaseLost,
    RagserveError,
    StateUnavailable,
    WorkerDied,
)
from deployments.ingestion.blobs import BlobStore
from deployments.ingestion.file_ingestion import FileWork
from deployments.resilience.retries import OUTAGE, Retry

logger = logging.getLogger(__name__)

FILES_PAGE = 1000

RunFile = Callable[[FileWork], Awaitable[None]]
"""Runs one attempt at a file somewhere else; cancelling the call ends the attempt.

Raises WorkerDied where the process running it died, and otherwise what the attempt raised.
"""


@dataclass(frozen=True, slots=True)
class SupervisorSettings:
    """How much is under way at once, and how often things are looked at."""

    jobs_in_flight: int = 4
    files_in_flight: int = 2
    max_deliveries: int = 5
    """A job given out so often without an end is poison: it ends FAILED and is set aside."""
    max_deaths: int = 3
    """Of workers on one file: then the file is to blame."""
    claim_wait_s: float = 1.0
    heartbeat_s: float = 5.0
    cancel_poll_s: float = 0.5
    lease_renewal_s: float = 60.0
    busy_pause_s: float = 0.5
    outage_pause_s: float = 1.0
    sweep_s: float = 5.0
    outage: Retry = OUTAGE


class Supervisor:
    """Works on several jobs at a time, each of another collection."""

    def __init__(
        self,
        name: str,
        *,
        jobs: JobStore,
        queue: JobQueue,
        lock: CollectionLock,
        visibility: Visibility,
        store: VectorStore,
        blobs: BlobStore,
        run_file: RunFile,
        settings: SupervisorSettings | None = None,
    ) -> None:
        self._name = name
        self._jobs = jobs
        self._queue = queue
        self._lock = lock
        self._visibility = visibility
        self._store = store
        self._blobs = blobs
        self._run_file = run_file
        self._settings = settings or SupervisorSettings()
        self._job_slots = asyncio.Semaphore(self._settings.jobs_in_flight)
        self._file_slots = asyncio.Semaphore(self._settings.files_in_flight)

    async def run(self) -> None:
        """Work until cancelled; what was under way then is taken up by another supervisor."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sweep_forever())
            while True:
                await self._job_slots.acquire()
                claim = await self._next_claim()
                group.create_task(self._work(claim))

    async def _next_claim(self) -> Claim:
        while True:
            try:
                claim = await self._queue.claim(self._name, self._settings.claim_wait_s)
            except StateUnavailable:
                await asyncio.sleep(self._settings.outage_pause_s)
                continue
            if claim is not None:
                return claim

    async def _work(self, claim: Claim) -> None:
        try:
            await self._work_on(claim)
        except (StateUnavailable, LeaseLost) as error:
            # The entry stays in the queue: whoever can reach Redis next takes it up again.
            logger.warning("job %s: let go (%s)", claim.job_id, error.code)
        except Exception:
            logger.exception("job %s: an attempt failed; it will be delivered again", claim.job_id)
        finally:
            self._job_slots.release()

    async def _work_on(self, claim: Claim) -> None:
        # The job owns the lease, not this process: whoever holds the claim may take it over at
        # once, and the fence stops the one it was taken from.
        lease = await self._lock.acquire(claim.collection, claim.job_id)
        if lease is None:
            await asyncio.sleep(self._settings.busy_pause_s)
            await self._queue.postpone(claim)
            return
        try:
            job = await self._jobs.start(claim.job_id, lease)
        except (IllegalTransition, JobNotFound):
            # It ended while it waited, or its record has expired: nothing is left to do.
            await self._close(claim, lease)
            return
        if claim.deliveries > self._settings.max_deliveries:
            await self._give_up(claim, lease)
            return
        await self._see_through(claim, job, lease)

    async def _give_up(self, claim: Claim, lease: Lease) -> None:
        reason = f"It was started {claim.deliveries - 1} times and never came to an end."
        await self._jobs.finish(claim.job_id, lease, error_code="poison", error_message=reason)
        await self._queue.bury(claim, reason)
        await self._lock.release(lease)

    async def _see_through(self, claim: Claim, job: Job, lease: Lease) -> None:
        work = asyncio.ensure_future(self._ingest(job, lease))
        watch = asyncio.ensure_future(self._watch(claim, lease))
        try:
            await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            work.cancel()
            watch.cancel()
            results = await asyncio.gather(work, watch, return_exceptions=True)
        errors = [
            r for r in results if isinstance(r, Exception) and not isinstance(r, JobCancelled)
        ]
        match errors:
            case []:
                ended = await self._jobs.finish(claim.job_id, lease)
            case [RagserveError() as error, *_] if not isinstance(error, LeaseLost):
                ended = await self._jobs.finish(
                    claim.job_id, lease, error_code=error.code, error_message=error.message
                )
            case [error, *_]:
                raise error
        if ended.state is JobState.COMPLETED and not ended.files_failed:
            # Otherwise the uploads stay for a resume, as long as the job's record does.
            await self._blobs.delete_job(claim.job_id)
        await self._close(claim, lease)

    async def _close(self, claim: Claim, lease: Lease) -> None:
        await self._queue.acknowledge(claim)
        await self._lock.release(lease)

    async def _watch(self, claim: Claim, lease: Lease) -> None:
        """Keep claim and lease alive. Ends when the job is to stop.

        Raises:
            LeaseLost: another supervisor has the claim or the lease.
            JobCancelled: the owner asked for the job's end.
        """
        settings = self._settings
        beat_at = renew_at = time.monotonic()
        while True:
            now = time.monotonic()
            try:
                if now >= beat_at:
                    if not await self._queue.heartbeat(claim, self._name):
                        raise LeaseLost("Another supervisor has taken the job over.")
                    beat_at = now + settings.heartbeat_s
                if now >= renew_at:
                    await self._lock.renew(lease)
                    renew_at = now + settings.lease_renewal_s
                if (await self._jobs.get(claim.job_id)).cancel_requested:
                    raise JobCancelled
            except StateUnavailable:
                logger.warning("job %s: Redis is out; waiting for it", claim.job_id)
            await asyncio.sleep(settings.cancel_poll_s)

    async def _ingest(self, job: Job, lease: Lease) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for spec in await self._unfinished(job):
                    await self._file_slots.acquire()
                    work = FileWork(job.id, job.collection, spec, lease)
                    group.create_task(self._ingest_file(work))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _unfinished(self, job: Job) -> list[FileSpec]:
        specs: list[FileSpec] = []
        for offset in range(0, job.files_total, FILES_PAGE):
            page = await self._jobs.files(job.id, offset=offset, limit=FILES_PAGE)
            specs += [f.spec for f in page if f.state in (FileState.PENDING, FileState.PROCESSING)]
        return specs

    async def _ingest_file(self, work: FileWork) -> None:
        """One file to its end, through outages and the deaths of the processes that run it."""
        try:
            for _ in range(self._settings.max_deaths):
                try:
                    await self._settings.outage.call(lambda: self._run_file(work))
                    return
                except WorkerDied:
                    logger.warning(
                        "job %s: file %d killed its worker", work.job_id, work.spec.number
                    )
            message = f"The process reading it died {self._settings.max_deaths} times."
            await self._jobs.fail_file(
                work.job_id, work.spec.number, work.lease, WorkerDied.code, message
            )
        finally:
            self._file_slots.release()

    async def _sweep_forever(self) -> None:
        """Delete from the store the versions that no search can still be reading."""
        while True:
            await asyncio.sleep(self._settings.sweep_s)
            try:
                for collection, version in await self._visibility.due(time.time()):
                    with suppress(CollectionNotFound):
                        await self._store.delete_version(collection, version)
                    await self._visibility.swept(collection, version)
            except DependencyError as error:
                logger.warning("sweep: %s; trying again", error.message)
