"""The files of a job, each seen through outages and the deaths of the processes that run it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from functools import partial

from deployments.contracts.jobs import FileSpec, FileState, Job, JobStore, Lease
from deployments.errors import IllegalTransition, WorkerDied
from deployments.ingestion.large_files import LargeFiles, RunStep
from deployments.ingestion.ranges import FileWork, Reading, Step
from deployments.ingestion.settings import SupervisorSettings

logger = logging.getLogger(__name__)

FILES_PAGE = 1000
_OPEN = (FileState.PENDING, FileState.PROCESSING)


class FileRuns:
    """Runs files, a bounded number at a time over all jobs together, and as many of their steps."""

    def __init__(self, jobs: JobStore, run_step: RunStep, settings: SupervisorSettings) -> None:
        self._jobs = jobs
        self._run_step = run_step
        self._settings = settings
        self._files = asyncio.Semaphore(settings.files_in_flight)
        self._steps = asyncio.Semaphore(settings.files_in_flight)
        self._large = LargeFiles(jobs, self._done, settings)

    async def run(self, job: Job, lease: Lease) -> None:
        """Bring every file of the job that has not ended to its end.

        Raises:
            RagserveError: what no file is to blame for; the other files are stopped.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for specs in _by_document(await self._unfinished(job)):
                    await self._files.acquire()
                    task = group.create_task(self._run_in_turn(job, specs, lease))
                    # Not in the task itself: one cancelled before it began would not come to it.
                    task.add_done_callback(lambda _: self._files.release())
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _unfinished(self, job: Job) -> list[FileSpec]:
        specs: list[FileSpec] = []
        for offset in range(0, job.files_total, FILES_PAGE):
            page = partial(self._jobs.files, job.id, offset=offset, limit=FILES_PAGE)
            specs += [
                file.spec for file in await self._settings.outage.call(page) if file.state in _OPEN
            ]
        return specs

    async def _run_in_turn(self, job: Job, specs: Iterable[FileSpec], lease: Lease) -> None:
        for spec in specs:
            await self._run(FileWork(job.id, job.collection, spec, lease))

    async def _run(self, work: FileWork) -> None:
        for _ in range(self._settings.max_deaths):
            try:
                if (first := await self._done(work)) is not None:
                    await self._large.run(work, first)
                return
            except (WorkerDied, IllegalTransition) as error:
                # Perhaps only the answer to its commit was lost, or an attempt believed dead came
                # in between.
                if await self._settings.outage.call(lambda: self._has_ended(work)):
                    return
                logger.warning("job %s: file %d: %s", work.job_id, work.spec.number, error.message)
        message = f"The process reading it died {self._settings.max_deaths} times."
        await self._settings.outage.call(
            lambda: self._jobs.fail_file(
                work.job_id, work.spec.number, work.lease, WorkerDied.code, message
            )
        )

    async def _done(self, step: Step) -> Reading | None:
        async with self._steps:
            return await self._settings.outage.call(lambda: self._run_step(step))

    async def _has_ended(self, work: FileWork) -> bool:
        number = work.spec.number
        (file,) = await self._jobs.files(work.job_id, offset=number, limit=1)
        return file.spec.number == number and file.state not in _OPEN


def _by_document(specs: Iterable[FileSpec]) -> Iterable[list[FileSpec]]:
    """Files that become one document go one after the other: each replaces the one before."""
    groups: dict[str, list[FileSpec]] = {}
    for spec in specs:
        groups.setdefault(spec.document_id, []).append(spec)
    return groups.values()
