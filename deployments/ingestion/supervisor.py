"""Takes jobs from the queue and sees them through, whatever dies on the way.

A supervisor owns nothing that matters: the job's record, its lease and its progress are in
Redis, the chunks in the vector store. One that dies is replaced by another that claims the same
entry once its heartbeat has been silent for long enough; one that is asked to end, or that lost
its lease, hands the job over at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from deployments.contracts.embedding import EmbeddingModel
from deployments.contracts.jobs import (
    Claim,
    CollectionLock,
    Job,
    JobQueue,
    JobState,
    JobStore,
    Lease,
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
)
from deployments.ingestion.blobs import BlobStore
from deployments.ingestion.file_runs import FileRuns
from deployments.ingestion.large_files import RunStep
from deployments.ingestion.model_match import require_model
from deployments.ingestion.settings import SupervisorSettings
from deployments.ingestion.sweep import Sweep

logger = logging.getLogger(__name__)

POISON = "poison"
"""The error code of a job that was given up on."""

ServedModel = Callable[[], Awaitable[EmbeddingModel]]
"""The model that embeds just now. Raises EmbeddingUnavailable."""


class Supervisor:
    """Works on several jobs at a time, each of another collection."""

    def __init__(
        self,
        name: str,
        *,
        jobs: JobStore,
        queue: JobQueue,
        lock: CollectionLock,
        store: VectorStore,
        blobs: BlobStore,
        model: ServedModel,
        run_step: RunStep,
        sweep: Sweep,
        settings: SupervisorSettings | None = None,
    ) -> None:
        self._name = name
        self._jobs = jobs
        self._queue = queue
        self._lock = lock
        self._store = store
        self._blobs = blobs
        self._model = model
        self._sweep = sweep
        self._settings = settings or SupervisorSettings()
        self._files = FileRuns(jobs, run_step, self._settings)
        self._held: dict[str, Claim] = {}
        self._slots = asyncio.Semaphore(self._settings.jobs_in_flight)

    async def run(self) -> None:
        """Work until cancelled; then stop what is under way and hand it over."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sweep.run())
            while True:
                await self._slots.acquire()
                claim = await self._next_claim()
                self._held[claim.entry_id] = claim
                task = group.create_task(self._work(claim))
                task.add_done_callback(partial(self._let_go, claim))

    def _let_go(self, claim: Claim, _: asyncio.Task[None]) -> None:
        self._forget(claim)
        self._slots.release()

    def _forget(self, claim: Claim) -> None:
        # It may be ours again by another delivery.
        if self._held.get(claim.entry_id) is claim:
            del self._held[claim.entry_id]

    async def _next_claim(self) -> Claim:
        while True:
            asking = asyncio.ensure_future(
                self._queue.claim(self._name, self._settings.claim_wait_s)
            )
            try:
                claim = await asyncio.shield(asking)
            except StateUnavailable:
                await asyncio.sleep(self._settings.outage_pause_s)
                continue
            except asyncio.CancelledError:
                # The entry may be ours by now: nobody else would get it for a while.
                with suppress(StateUnavailable):
                    if (claim := await asking) is not None:
                        await self._hand_over(claim)
                raise
            # After an outage the queue may take an entry that we work on for abandoned.
            if claim is not None and claim.entry_id not in self._held:
                return claim

    async def _work(self, claim: Claim) -> None:
        try:
            lease = await self._lock.acquire(claim.collection, _undertaking(claim))
            if lease is None:
                await asyncio.sleep(self._settings.busy_pause_s)
                await self._queue.postpone(claim)
            else:
                await self._work_on(claim, lease)
        except asyncio.CancelledError:
            with suppress(StateUnavailable):
                await self._hand_over(claim)
            raise
        except (StateUnavailable, LeaseLost) as error:
            logger.warning("job %s: let go (%s)", claim.job_id, error.code)
            with suppress(StateUnavailable):  # then its entry is found without a heartbeat
                await self._settings.outage.call(lambda: self._hand_over(claim))
        except Exception:
            logger.exception("job %s: an attempt failed; it will be delivered again", claim.job_id)

    async def _hand_over(self, claim: Claim) -> None:
        """Let whoever asks next have the job, where it is still ours to give."""
        if not await self._queue.heartbeat(claim, self._name):
            return
        # Taken again to be given back: the answer that told us of it may have been lost.
        lease = await self._lock.acquire(claim.collection, _undertaking(claim))
        if lease is not None:
            await self._lock.release(lease)
        self._forget(claim)  # before: we may be who asks next
        await self._queue.release(claim, self._name)

    async def _work_on(self, claim: Claim, lease: Lease) -> None:
        try:
            job = await self._jobs.start(claim.job_id, lease)
        except (IllegalTransition, JobNotFound):
            # It ended while it waited, or its record has expired: nothing is left to do.
            await self._close(claim, lease)
            return
        except CollectionNotFound as gone:
            await self._end(claim, lease, gone.code, gone.message)
            return
        if claim.deliveries > self._settings.max_deliveries + job.files_done + job.files_failed:
            reason = f"It was started {claim.deliveries - 1} times and never came to an end."
            failure: RagserveError | None = RagserveError(reason)
            code = POISON
        else:
            failure = await self._see_through(claim, job, lease)
            code = failure.code if failure else ""
        await self._end(claim, lease, code, failure.message if failure else "")

    async def _end(self, claim: Claim, lease: Lease, code: str, message: str) -> None:
        ended = await self._jobs.finish(claim.job_id, lease, error_code=code, error_message=message)
        if ended.state is JobState.COMPLETED and not ended.files_failed:
            # Otherwise the uploads stay for a resume, as long as the job's record does.
            with suppress(DependencyError):  # the sweep comes by later
                await self._blobs.delete_job(claim.job_id)
        await self._close(claim, lease)

    async def _close(self, claim: Claim, lease: Lease) -> None:
        """Settle the entry of a job that has ended: last, so that a lease is never left behind."""
        await self._lock.release(lease)
        with suppress(JobNotFound):
            job = await self._jobs.get(claim.job_id)
            if job.error_code == POISON:
                await self._queue.bury(claim, job.error_message)
        await self._queue.acknowledge(claim)

    async def _see_through(self, claim: Claim, job: Job, lease: Lease) -> RagserveError | None:
        """Work on the job until it is done or must stop. Answers what it failed of, if it did.

        Raises:
            LeaseLost: another supervisor has it.
            StateUnavailable: Redis has been out for too long.
        """
        work = asyncio.ensure_future(self._ingest(job, lease))
        watch = asyncio.ensure_future(self._watch(claim, lease))
        try:
            await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            work.cancel()
            watch.cancel()
            ends = await asyncio.gather(work, watch, return_exceptions=True)
        for end in ends:
            match end:
                case JobCancelled():
                    return None
                case LeaseLost() | StateUnavailable():
                    raise end
                case RagserveError():
                    return end
                case Exception():
                    raise end
        return None

    async def _ingest(self, job: Job, lease: Lease) -> None:
        await self._settings.outage.call(lambda: self._require_model(job.collection))
        await self._files.run(job, lease)

    async def _require_model(self, collection: str) -> None:
        require_model(await self._store.get_collection(collection), await self._model())

    async def _watch(self, claim: Claim, lease: Lease) -> None:
        """Keep claim and lease alive, until the job must stop.

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


def _undertaking(claim: Claim) -> str:
    """The owner of a lease: whoever takes the entry over has the lease at once.

    It is not the job: after `cancel` and `resume` two entries may name one job, and their
    supervisors would take the lease from each other.
    """
    return f"{claim.job_id}/{claim.entry_id}"
