"""Ingestion jobs: how far they are, as a record and as a stream of events."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import StreamingResponse

from deployments.contracts.identity import Principal
from deployments.contracts.jobs import Job, JobState
from deployments.errors import JobNotFound
from deployments.state.policies import EVENT_ID
from serve_app.problems import request_id_of
from serve_app.routes.access import UsesServices, needs, problems, require_writable
from serve_app.routes.events import EventStream, event, failure
from serve_app.routes.translate import job_out
from serve_app.schemas import JobList, JobOut
from serve_app.services import Services

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

Reader = Annotated[Principal, Depends(needs("ingest"))]

MAX_FILES_SHOWN = 1000


@router.get("", responses=problems(503))
async def list_jobs(
    caller: Reader,
    services: UsesServices,
    state: JobState | None = None,
    collection: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(pattern=r"^[0-9]{1,19}$")] = None,
) -> JobList:
    """The caller's jobs, newest first; an admin sees everyone's."""
    owner = None if "admin" in caller.scopes else caller.id
    jobs, following = await services.jobs.page(
        owner=owner, collection=collection, state=state, limit=limit, cursor=cursor
    )
    visible = [job for job in jobs if _may_follow(caller, job)]
    return JobList(jobs=[job_out(job) for job in visible], next_cursor=following)


@router.get("/{job_id}", responses=problems(404, 503))
async def get_job(job_id: str, caller: Reader, services: UsesServices) -> JobOut:
    """One job with its first 1,000 files."""
    job = await _owned(services, caller, job_id)
    return job_out(job, await services.jobs.files(job_id, limit=MAX_FILES_SHOWN))


@router.get(
    "/{job_id}/events",
    responses=problems(404, 503) | {200: {"content": {"text/event-stream": {}}}},
    response_class=StreamingResponse,
)
async def follow_job(
    job_id: str,
    request: Request,
    caller: Reader,
    services: UsesServices,
    last_event_id: Annotated[str, Header(pattern=f"^{EVENT_ID.pattern}$")] = "0",
) -> StreamingResponse:
    """Every change of the job as a Server-Sent Event, until it has ended.

    Send the last event's id as `Last-Event-ID` to go on after a lost connection.
    """
    await _owned(services, caller, job_id)
    request_id = request_id_of(request)

    async def changes() -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(services.jobs.events(job_id, last_event_id)) as stream:
                async for change in stream:
                    files = await services.jobs.files(job_id, limit=MAX_FILES_SHOWN)
                    body = job_out(change.job, files).model_dump_json()
                    yield event("job", body, event_id=change.id)
        except Exception as error:  # noqa: BLE001 - the response has begun: it must end as one
            yield failure(error, request_id)

    return EventStream(changes())


@router.post("/{job_id}/cancel", responses=problems(404, 409, 503))
async def cancel_job(job_id: str, caller: Reader, services: UsesServices) -> JobOut:
    """Stop a job. What it committed stays; nothing else of it can be found."""
    require_writable(caller, (await _owned(services, caller, job_id)).collection)
    return job_out(await services.jobs.cancel(job_id))


@router.post("/{job_id}/resume", responses=problems(404, 409, 503))
async def resume_job(job_id: str, caller: Reader, services: UsesServices) -> JobOut:
    """Queue again the files of an ended job that are not done."""
    require_writable(caller, (await _owned(services, caller, job_id)).collection)
    return job_out(await services.jobs.resume(job_id))


async def _owned(services: Services, caller: Principal, job_id: str) -> Job:
    """The job; another's is answered as one that is not there."""
    try:
        job = await services.jobs.get(job_id)
    except JobNotFound:
        job = None
    if job is None or not _may_follow(caller, job):
        raise JobNotFound(f"There is no job '{job_id}'.", job=job_id)
    return job


def _may_follow(caller: Principal, job: Job) -> bool:
    own = job.owner == caller.id or "admin" in caller.scopes
    return own and (caller.may_read(job.collection) or caller.may_write(job.collection))
