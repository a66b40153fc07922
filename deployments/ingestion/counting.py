"""What becomes of jobs, as metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from deployments.contracts.jobs import Job, JobQueue, JobStore, Lease
from deployments.errors import StateUnavailable
from deployments.metrics import (
    FILES,
    JOB_AGE_SECONDS,
    JOB_WAIT_SECONDS,
    QUEUE_DEPTH,
    Metrics,
)

DEPTH_PERIOD_S = 5.0


def counted_jobs(
    jobs: JobStore, metrics: Metrics, clock_s: Callable[[], float] = time.time
) -> JobStore:
    """`jobs`, counting those that are started and ended through it."""
    return cast("JobStore", _CountedJobs(jobs, metrics, clock_s))


class _CountedJobs:
    def __init__(self, jobs: JobStore, metrics: Metrics, clock_s: Callable[[], float]) -> None:
        self._jobs = jobs
        self._metrics = metrics
        self._clock_s = clock_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._jobs, name)

    async def start(self, job_id: str, lease: Lease) -> Job:
        job = await self._jobs.start(job_id, lease)
        if job.attempts <= 1:
            self._metrics.observe(JOB_WAIT_SECONDS, max(0.0, self._clock_s() - job.created_at_s))
        return job

    async def finish(
        self, job_id: str, lease: Lease, *, error_code: str = "", error_message: str = ""
    ) -> Job:
        job = await self._jobs.finish(
            job_id, lease, error_code=error_code, error_message=error_message
        )
        age_s = max(0.0, self._clock_s() - job.created_at_s)
        self._metrics.observe(JOB_AGE_SECONDS, age_s, state=job.state.value)
        self._metrics.count(FILES, job.files_done, outcome="done")
        self._metrics.count(FILES, job.files_failed, outcome="failed")
        return job


async def watch_depth(queue: JobQueue, metrics: Metrics) -> None:
    """Show how long the queue is, until cancelled; while Redis is out, what it was."""
    while True:
        with suppress(StateUnavailable):
            metrics.set(QUEUE_DEPTH, await queue.depth())
        await asyncio.sleep(DEPTH_PERIOD_S)
