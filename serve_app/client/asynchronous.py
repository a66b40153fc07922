"""The client for programs with asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import Any, Self

import httpx

from serve_app.client import calls
from serve_app.client.calls import Call, ModelT
from serve_app.client.errors import ApiError, ClientError, ConnectionFailed, WaitTimeout
from serve_app.client.exchange import (
    DEFAULT_URL,
    EVENTS_READ_TIMEOUT_S,
    EventCursor,
    client_options,
    httpx_errors,
    is_done_already,
    raise_for,
)
from serve_app.client.multipart import MultipartBody, ProgressCallback, Upload
from serve_app.client.query_events import QueryEvent, query_event
from serve_app.client.retrying import RetryPolicy
from serve_app.client.sse import EventParser, ServerEvent
from serve_app.schemas import (
    CollectionCreate,
    CollectionOut,
    DocumentList,
    DocumentOut,
    HealthOut,
    JobList,
    JobOut,
    KeyCreate,
    KeyMade,
    KeyOut,
    KeyRotate,
    PrincipalOut,
    QueryIn,
    QueryOut,
    SearchIn,
    SearchOut,
    SourceDocuments,
    TextDocuments,
)


class AsyncRagserve:
    """A connection to ragserve; use it in an `async with`, or `aclose` it.

    Every method raises ClientError's subclasses. What can be repeated without harm is repeated by
    `retry` when the connection breaks or the server is out for a moment. `timeout_s` bounds the
    silence between two pieces of an answer, not the whole answer.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        api_key: str | None = None,
        *,
        timeout_s: float = 60.0,
        retry: RetryPolicy | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = url
        self._retry = retry or RetryPolicy()
        self._sleep = sleep
        with httpx_errors(url):
            options = client_options(url, api_key, timeout_s)
            if transport is not None:
                options["mounts"] = None
            self._http = httpx.AsyncClient(**options, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    # Who and how

    async def me(self) -> PrincipalOut:
        """Who the API key belongs to."""
        return await self._send(calls.me())

    async def health(self) -> HealthOut:
        """What ragserve depends on, and the state of each; answers also when not ready."""
        return await self._send(calls.ready())

    # Collections

    async def list_collections(self) -> list[CollectionOut]:
        return (await self._send(calls.list_collections())).collections

    async def get_collection(self, name: str) -> CollectionOut:
        return await self._send(calls.get_collection(name))

    async def create_collection(self, name: str, description: str = "") -> CollectionOut:
        body = CollectionCreate(name=name, description=description)
        return await self._send(calls.create_collection(body))

    async def delete_collection(self, name: str) -> None:
        await self._send(calls.delete_collection(name))

    # Keys

    async def create_key(self, key: KeyCreate) -> KeyMade:
        """Make an API key; its text is in the answer and nowhere else again."""
        return await self._send(calls.create_key(key))

    async def list_keys(self) -> list[KeyOut]:
        return (await self._send(calls.list_keys())).keys

    async def rotate_key(self, prefix: str, overlap_s: float = 0.0) -> KeyMade:
        """Make a key with the same rights; the old one is good for `overlap_s` more."""
        return await self._send(calls.rotate_key(prefix, KeyRotate(overlap_s=overlap_s)))

    async def revoke_key(self, prefix: str) -> None:
        await self._send(calls.revoke_key(prefix))

    # Documents

    async def upload(
        self,
        collection: str,
        uploads: Sequence[Upload],
        *,
        metadata: Mapping[str, Any] | None = None,
        on_progress: ProgressCallback | None = None,
        idempotency_key: str | None = None,
    ) -> JobOut:
        """Send files as one job. Files are read while they are sent, never whole.

        A key of its own makes another try after a broken connection give the same job; name
        `idempotency_key` to make that hold across processes too.
        """
        body = MultipartBody(uploads, metadata, on_progress)
        return await self._send(calls.upload(collection, body, idempotency_key))

    async def add_texts(
        self, collection: str, documents: TextDocuments, *, idempotency_key: str | None = None
    ) -> JobOut:
        """Send texts as one job."""
        return await self._send(calls.add_texts(collection, documents, idempotency_key))

    async def add_sources(
        self, collection: str, sources: SourceDocuments, *, idempotency_key: str | None = None
    ) -> JobOut:
        """Have the server fetch documents by URL, as one job."""
        return await self._send(calls.add_sources(collection, sources, idempotency_key))

    async def list_documents(
        self, collection: str, *, offset: int = 0, limit: int = 50
    ) -> DocumentList:
        return await self._send(calls.list_documents(collection, offset, limit))

    async def get_document(self, collection: str, document_id: str) -> DocumentOut:
        return await self._send(calls.get_document(collection, document_id))

    async def delete_document(self, collection: str, document_id: str) -> None:
        await self._send(calls.delete_document(collection, document_id))

    # Jobs

    async def list_jobs(
        self,
        *,
        state: str | None = None,
        collection: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> JobList:
        return await self._send(calls.list_jobs(state, collection, limit, cursor))

    async def get_job(self, job_id: str) -> JobOut:
        return await self._send(calls.get_job(job_id))

    async def cancel_job(self, job_id: str) -> JobOut:
        return await self._send(calls.cancel_job(job_id))

    async def resume_job(self, job_id: str) -> JobOut:
        return await self._send(calls.resume_job(job_id))

    async def job_events(
        self, job_id: str, *, last_event_id: str | None = None
    ) -> AsyncGenerator[JobOut, None]:
        """The job at each change, until it has ended; a broken connection goes on where it was."""
        async with aclosing(self._pulses(job_id, EventCursor(last_event_id))) as pulses:
            async for job in pulses:
                if job is not None:
                    yield job

    async def wait(
        self,
        job_id: str,
        *,
        timeout_s: float | None = None,
        on_change: Callable[[JobOut], None] | None = None,
    ) -> JobOut:
        """The job once it has ended, with its files.

        Raises WaitTimeout after `timeout_s`, give or take the server's signs of life.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        async with aclosing(self._pulses(job_id, EventCursor())) as pulses:
            async for job in pulses:
                if job is not None and on_change is not None:
                    on_change(job)
                if deadline is not None and time.monotonic() > deadline:
                    raise WaitTimeout(f"Job {job_id} had not ended after {timeout_s:g} s.")
        return await self.get_job(job_id)

    # Search and query

    async def search(self, body: SearchIn) -> SearchOut:
        return await self._send(calls.search(body))

    async def query(self, body: QueryIn) -> QueryOut:
        return await self._send(calls.query(body))

    async def stream_query(self, body: QueryIn) -> AsyncGenerator[QueryEvent, None]:
        """The answer as it is written. Closing it (`aclosing`) stops the model."""
        async with aclosing(self._events(calls.stream_query(body))) as events:
            async for event in events:
                found = query_event(event)
                if found is not None:
                    yield found

    # Exchange

    async def _pulses(
        self, job_id: str, cursor: EventCursor
    ) -> AsyncGenerator[JobOut | None, None]:
        """The job at each change, and None at each sign of life between changes."""
        while not cursor.ended:
            try:
                events = self._events(calls.job_events(job_id, cursor.last_event_id))
                async with aclosing(events):
                    async for event in events:
                        yield cursor.take(event)
                broken = ConnectionFailed(f"{self.url} ended the events of job {job_id} early.")
            except ConnectionFailed as failure:
                broken = failure
            if not cursor.ended:
                cursor.drops += 1
                await self._pause(cursor.drops, broken)

    async def _send(self, call: Call[ModelT]) -> ModelT:
        attempt = 1
        while True:
            try:
                async with self._open(call) as response:
                    body = await self._read(response)
                    raise_for(call, response, body)
                return call.read(body)
            except ClientError as error:
                if isinstance(error, ApiError) and is_done_already(call, attempt, error.status):
                    return call.read(b"")
                if not call.repeatable:
                    raise
                await self._pause(attempt, error)
            attempt += 1

    async def _events(self, call: Call[ModelT]) -> AsyncGenerator[ServerEvent, None]:
        attempt = 1
        while True:
            async with self._open(call, read_timeout_s=EVENTS_READ_TIMEOUT_S) as response:
                try:
                    if not response.is_success:
                        raise_for(call, response, await self._read(response))
                except ClientError as error:
                    await self._pause(attempt, error)
                    attempt += 1
                    continue
                parser = EventParser()
                with httpx_errors(self.url):
                    async for chunk in response.aiter_bytes():
                        for event in parser.feed(chunk):
                            yield event
                return

    @asynccontextmanager
    async def _open(
        self, call: Call[ModelT], read_timeout_s: float | None = None
    ) -> AsyncGenerator[httpx.Response, None]:
        with httpx_errors(self.url):
            request = self._http.build_request(
                call.method,
                call.path,
                params=dict(call.params),
                headers=dict(call.headers),
                content=_sendable(call.body),
            )
            if read_timeout_s is not None:
                request.extensions["timeout"]["read"] = read_timeout_s
            response = await self._http.send(request, stream=True)
        try:
            yield response
        finally:
            await response.aclose()

    async def _read(self, response: httpx.Response) -> bytes:
        with httpx_errors(self.url):
            return await response.aread()

    async def _pause(self, attempt: int, error: ClientError) -> None:
        """Wait before the next try; raise `error` when there is to be none."""
        wait_s = self._retry.wait_s(attempt, error)
        if wait_s is None:
            raise error
        await self._sleep(wait_s)


def _sendable(body: bytes | MultipartBody | None) -> bytes | AsyncIterator[bytes] | None:
    return _blocks(body) if isinstance(body, MultipartBody) else body


async def _blocks(body: MultipartBody) -> AsyncIterator[bytes]:
    blocks = iter(body)
    # Disks block: each read has a thread, so that the caller's loop goes on meanwhile.
    while (block := await asyncio.to_thread(next, blocks, None)) is not None:
        yield block
