"""A large file's steps, side by side in tasks of their own, and the one commit behind them all.

The steps only read and write what no search can see, so that each may be done twice. The version
is given out once all is read, and committed once all is written, by the supervisor itself and
under its lease: a file of a thousand steps becomes visible like one of a single step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TypeVar

from deployments.contracts.jobs import JobStore
from deployments.errors import WorkerDied
from deployments.ingestion.ranges import (
    FAULTS_OF_THE_FILE,
    FileWork,
    Reading,
    Step,
    WriteRange,
    demand_text,
    document_of,
    write_ranges,
)
from deployments.ingestion.readers.document import ReadLimits
from deployments.ingestion.settings import SupervisorSettings

T = TypeVar("T")

RunStep = Callable[[Step], Awaitable[Reading | None]]
"""Does one step of a file somewhere else; cancelling the call ends it.

Answers what was read: of a file that proves large, and of its later pages. Raises WorkerDied where
the process running it died or failed in a way that nobody foresaw, or where what an earlier step
read was lost with its node; otherwise what the step raised.
"""


class LargeFiles:
    """Sees large files through, once their first step has said that they are."""

    def __init__(self, jobs: JobStore, run_step: RunStep, settings: SupervisorSettings) -> None:
        self._jobs = jobs
        self._run_step = run_step
        self._settings = settings
        self._outage = settings.outage

    async def run(self, work: FileWork, first: Reading) -> None:
        """Bring the file to its end: DONE, or FAILED with its own error.

        Raises:
            WorkerDied: a step's process died each time, or what was read is lost.
            LeaseLost, IllegalTransition, StateUnavailable: as the JobStore does.
        """
        try:
            rest = [partial(self._survived, step) for step in first.rest(work)]
            readings = [first, *(found for found in await self._all(rest) if found is not None)]
            demand_text(readings, ReadLimits())
            await self._write(work, readings)
        except FAULTS_OF_THE_FILE as error:
            code, message = error.code, error.message
            await self._outage.call(
                lambda: self._jobs.fail_file(
                    work.job_id, work.spec.number, work.lease, code, message
                )
            )

    async def _write(self, work: FileWork, readings: list[Reading]) -> None:
        file = (work.job_id, work.spec.number, work.lease)
        total = sum(reading.chunks for reading in readings)
        version = await self._outage.call(lambda: self._jobs.begin_file(*file))
        document = document_of(work.spec, readings[0], total, version)
        done = 0

        async def report(more: int) -> None:
            nonlocal done
            done += more
            await self._outage.call(
                lambda: self._jobs.report_file(*file, chunks_done=done, chunks_total=total)
            )

        async def write(step: WriteRange) -> None:
            await self._survived(step)
            await report(step.stop - step.start)

        await report(0)
        steps = write_ranges(work, document, readings, self._settings.range_chunks)
        await self._all(partial(write, step) for step in steps)
        replaces = readings[0].replaces
        await self._outage.call(
            lambda: self._jobs.commit_file(*file, version=version, chunks=total, replaces=replaces)
        )

    async def _survived(self, step: Step) -> Reading | None:
        """Do a step again where its process died: what the others have done stays done."""
        for _ in range(self._settings.max_deaths - 1):
            try:
                return await self._run_step(step)
            except WorkerDied:
                continue
        return await self._run_step(step)

    async def _all(self, calls: Iterable[Callable[[], Awaitable[T]]]) -> list[T]:
        """The answers, in order; the first error ends the others.

        No more calls than there are slots wait for one, so that other files come in between.
        """
        left = enumerate(calls)
        answers: dict[int, T] = {}

        async def work_off() -> None:
            for index, call in left:
                answers[index] = await call()

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._settings.files_in_flight):
                    group.create_task(work_off())
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [answers[index] for index in sorted(answers)]
