"""What a supervisor does with a job while it holds the collection's lease.

Each step is one script. `start`, `commit_file`, `skip_file`, `fail_file` and `finish` may be sent
again when their answer was lost: the second time changes nothing. `begin_file` sent again gives
another version and aborts the first, which nobody writes to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from deployments.contracts.jobs import Job, Lease
from deployments.state.keys import Keys, Lifetimes, hiding_lifetimes, milliseconds
from deployments.state.policies import LONGEST_MESSAGE_CHARS, JobLimits
from deployments.state.records import job_from, pairs
from deployments.state.scripts import Script

_LEASED_KEYS = (
    "job", "specs", "files", "events", "pending", "active", "expiring", "queue",
    "sequence", "fence", "dropped", "epoch", "hidden", "sweep", "tombstones",
)  # fmt: skip


class LeasedJobs:
    """The part of the JobStore that demands a lease; each method raises LeaseLost."""

    def __init__(self, client: Redis, keys: Keys, lifetimes: Lifetimes, limits: JobLimits) -> None:
        self._client = client
        self._keys = keys
        self._lifetimes = lifetimes
        self._limits = limits
        self._start = Script(client, "start", _LEASED_KEYS)
        self._begin_file = Script(client, "begin_file", _LEASED_KEYS)
        self._report_file = Script(client, "report_file", _LEASED_KEYS)
        self._commit_file = Script(client, "commit_file", _LEASED_KEYS)
        self._skip_file = Script(client, "skip_file", _LEASED_KEYS)
        self._fail_file = Script(client, "fail_file", _LEASED_KEYS)
        self._finish = Script(client, "finish", _LEASED_KEYS)

    async def start(self, job_id: str, lease: Lease) -> Job:
        return job_from(pairs(await self._under_lease(self._start, job_id, lease)))

    async def begin_file(self, job_id: str, number: int, lease: Lease) -> int:
        version = await self._under_lease(self._begin_file, job_id, lease, number=str(number))
        return int(version)

    async def report_file(
        self, job_id: str, number: int, lease: Lease, *, chunks_done: int, chunks_total: int
    ) -> Job:
        answer = await self._under_lease(
            self._report_file,
            job_id,
            lease,
            number=str(number),
            chunks_done=chunks_done,
            chunks_total=chunks_total,
        )
        return job_from(pairs(answer))

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
        await self._under_lease(
            self._commit_file,
            job_id,
            lease,
            number=str(number),
            version=str(version),
            chunks=chunks,
            replaces=[str(replaced) for replaced in replaces],
        )

    async def skip_file(self, job_id: str, number: int, lease: Lease) -> None:
        await self._under_lease(self._skip_file, job_id, lease, number=str(number))

    async def fail_file(
        self, job_id: str, number: int, lease: Lease, code: str, message: str
    ) -> None:
        await self._under_lease(
            self._fail_file,
            job_id,
            lease,
            number=str(number),
            error_code=code,
            error_message=message[:LONGEST_MESSAGE_CHARS],
        )

    async def finish(
        self, job_id: str, lease: Lease, *, error_code: str = "", error_message: str = ""
    ) -> Job:
        answer = await self._under_lease(
            self._finish,
            job_id,
            lease,
            error_code=error_code,
            error_message=error_message[:LONGEST_MESSAGE_CHARS],
        )
        return job_from(pairs(answer))

    async def _under_lease(
        self, script: Script, job_id: str, lease: Lease, **arguments: object
    ) -> Any:
        collection = lease.collection
        keys = self._job_keys(job_id) | {
            "sequence": self._keys.sequence,
            "fence": self._keys.fence(collection),
            "dropped": self._keys.dropped(collection),
            "epoch": self._keys.epoch(collection),
            "hidden": self._keys.hidden(collection),
            "sweep": self._keys.sweep,
            "tombstones": self._keys.tombstones,
        }
        return await script(
            keys,
            **self._of_job(job_id),
            **hiding_lifetimes(self._lifetimes),
            collection=collection,
            fence=str(lease.fence),
            **arguments,
        )

    def _job_keys(self, job_id: str) -> dict[str, str]:
        return {
            "job": self._keys.job(job_id),
            "specs": self._keys.job_specs(job_id),
            "files": self._keys.job_files(job_id),
            "events": self._keys.job_events(job_id),
            "pending": self._keys.pending_jobs,
            "active": self._keys.active_jobs,
            "expiring": self._keys.expiring_jobs,
            "queue": self._keys.queue,
        }

    def _of_job(self, job_id: str) -> dict[str, object]:
        return {
            "job_id": job_id,
            "job_ms": milliseconds(self._lifetimes.job_s),
            "max_events": self._limits.max_events,
        }
