"""Job records in Redis: what an operator and a caller do with a job.

What a supervisor does under its lease is in `leased_jobs.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from redis.asyncio import Redis

from deployments.contracts.jobs import (
    FileSpec,
    FileState,
    FileStatus,
    Job,
    JobEvent,
    JobState,
)
from deployments.errors import InvalidRequest, JobNotFound
from deployments.state.connection import answering
from deployments.state.keys import Keys, Lifetimes, milliseconds
from deployments.state.leased_jobs import LeasedJobs
from deployments.state.policies import EVENT_ID, JobLimits, check_files
from deployments.state.records import file_from, job_from, pairs, spec_from_json, spec_to_json
from deployments.state.scripts import Script

_JOB_KEYS = ("job", "specs", "files", "events", "pending", "active", "expiring", "queue")
_SUBMIT_KEYS = (
    *_JOB_KEYS,
    "sequence",
    "idempotency",
    "jobs",
    "jobs_of_owner",
    "jobs_of_collection",
)
_PAGE_SCAN = 100
_MOST_SCANNED = 2000
"""Records a page looks at for those that match: beyond, it comes back shorter, with a cursor."""


class RedisJobStore(LeasedJobs):
    """The JobStore of production and of the embedded default."""

    def __init__(
        self,
        client: Redis,
        keys: Keys | None = None,
        lifetimes: Lifetimes | None = None,
        limits: JobLimits | None = None,
    ) -> None:
        super().__init__(client, keys or Keys(), lifetimes or Lifetimes(), limits or JobLimits())
        self._submit = Script(client, "submit", _SUBMIT_KEYS)
        self._cancel = Script(client, "cancel", _JOB_KEYS)
        self._resume = Script(client, "resume", _JOB_KEYS)

    async def submit(
        self,
        job_id: str,
        collection: str,
        owner: str,
        files: Sequence[FileSpec],
        idempotency_key: str | None = None,
    ) -> Job:
        check_files(files)
        places = self._job_keys(job_id) | {
            "sequence": self._keys.sequence,
            "idempotency": self._keys.idempotency(owner, idempotency_key or ""),
            "jobs": self._keys.jobs,
            "jobs_of_owner": self._keys.jobs_of_owner(owner),
            "jobs_of_collection": self._keys.jobs_of_collection(collection),
        }
        extra: list[str] = []
        for file in files:
            extra += [str(file.number), str(file.size_bytes), spec_to_json(file)]
        stored_id = await self._submit(
            places,
            extra,
            **self._of_job(job_id),
            **self._bounds(),
            collection=collection,
            owner=owner,
            idempotent=idempotency_key is not None,
            idempotency_ms=milliseconds(self._lifetimes.idempotency_s),
            owner_index_prefix=self._keys.jobs_of_owner(""),
            collection_index_prefix=self._keys.jobs_of_collection(""),
        )
        return await self.get(stored_id)

    async def get(self, job_id: str) -> Job:
        async with answering():
            fields: Any = await self._client.hgetall(self._keys.job(job_id))
        if not fields:
            raise JobNotFound("No such job.")
        return job_from(fields)

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
        index = self._index(owner, collection)
        found: list[Job] = []
        for _ in range(0, _MOST_SCANNED, _PAGE_SCAN):
            rows = await self._index_rows(index, cursor)
            for number, job in rows:
                cursor = str(number)
                if job is None or not _matches(job, owner, collection, state):
                    continue
                found.append(job)
                if len(found) == limit:
                    return found, cursor
            if len(rows) < _PAGE_SCAN:
                return found, None
        return found, cursor

    def _index(self, owner: str | None, collection: str | None) -> str:
        if owner is not None:
            return self._keys.jobs_of_owner(owner)
        if collection is not None:
            return self._keys.jobs_of_collection(collection)
        return self._keys.jobs

    async def _index_rows(self, index: str, cursor: str | None) -> list[tuple[int, Job | None]]:
        """The next (number, job) of an index; None for a record that has expired."""
        async with answering():
            entries: Any = await self._client.zrevrangebyscore(
                index,
                f"({cursor}" if cursor else "+inf",
                "-inf",
                start=0,
                num=_PAGE_SCAN,
                withscores=True,
            )
            async with self._client.pipeline(transaction=False) as pipe:
                for job_id, _ in entries:
                    pipe.hgetall(self._keys.job(job_id))
                records = await pipe.execute()
        return [
            (int(number), job_from(fields) if fields else None)
            for (_, number), fields in zip(entries, records, strict=True)
        ]

    async def files(
        self, job_id: str, *, offset: int = 0, limit: int = 1000, state: FileState | None = None
    ) -> list[FileStatus]:
        if state is None:
            page = await self._files(job_id, offset, limit)
            if not page:
                await self.get(job_id)  # no such page, or no such job
            return page
        job = await self.get(job_id)
        matching: list[FileStatus] = []
        for start in range(0, job.files_total, 1000):
            matching += [
                file for file in await self._files(job_id, start, 1000) if file.state is state
            ]
            if len(matching) >= offset + limit:
                break
        return matching[offset : offset + limit]

    async def _files(self, job_id: str, offset: int, limit: int) -> list[FileStatus]:
        if limit < 1:
            return []
        async with answering():
            texts: Any = await self._client.lrange(
                self._keys.job_specs(job_id), offset, offset + limit - 1
            )
            specs = [spec_from_json(text) for text in texts]
            if not specs:
                return []
            states: Any = await self._client.hmget(
                self._keys.job_files(job_id), [str(spec.number) for spec in specs]
            )
        # A state is missing only where the job has expired between the two reads.
        return [file_from(spec, text) for spec, text in zip(specs, states, strict=True) if text]

    async def events(self, job_id: str, after: str = "0") -> AsyncGenerator[JobEvent, None]:
        if not EVENT_ID.fullmatch(after):
            raise InvalidRequest("The event id is not one of ours.")
        while True:
            state, entries = await self._news(job_id, after)
            if state is None and after == "0":
                raise JobNotFound("No such job.")
            for entry_id, fields in entries:
                after = entry_id
                yield JobEvent(entry_id, job_from(fields))
            if not entries:
                # Read together with the state: an ended job without news has no more to tell.
                if state is None or JobState(state).ended:
                    return
                await asyncio.sleep(self._limits.event_poll_s)

    async def _news(
        self, job_id: str, after: str
    ) -> tuple[str | None, list[tuple[str, dict[str, str]]]]:
        async with answering(), self._client.pipeline(transaction=True) as pipe:
            pipe.hget(self._keys.job(job_id), "state")
            pipe.xrange(self._keys.job_events(job_id), min=f"({after}", count=100)
            state, entries = await pipe.execute()
        return state, entries

    async def cancel(self, job_id: str) -> Job:
        answer = await self._cancel(self._job_keys(job_id), **self._of_job(job_id))
        return job_from(pairs(answer))

    async def resume(self, job_id: str) -> Job:
        answer = await self._resume(
            self._job_keys(job_id), **self._of_job(job_id), **self._bounds()
        )
        return job_from(pairs(answer))

    def _bounds(self) -> dict[str, object]:
        return {
            "max_queued_jobs": self._limits.max_queued_jobs,
            "max_jobs_per_owner": self._limits.max_jobs_per_owner,
        }


def _matches(job: Job, owner: str | None, collection: str | None, state: JobState | None) -> bool:
    return (
        (owner is None or job.owner == owner)
        and (collection is None or job.collection == collection)
        and (state is None or job.state is state)
    )
