"""The HTTP API as values: one function a route, none of which sends anything.

Both clients send the same calls, so that a route is described once.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from serve_app.client.errors import UnexpectedAnswer
from serve_app.client.multipart import MultipartBody
from serve_app.schemas import (
    CollectionCreate,
    CollectionList,
    CollectionOut,
    DocumentList,
    DocumentOut,
    HealthOut,
    JobList,
    JobOut,
    KeyCreate,
    KeyList,
    KeyMade,
    KeyRotate,
    PrincipalOut,
    QueryIn,
    QueryOut,
    SearchIn,
    SearchOut,
    SourceDocuments,
    TextDocuments,
)

ModelT = TypeVar("ModelT", bound=BaseModel)


class Nothing(BaseModel):
    """The answer of a call that says only that it was done."""


@dataclass(frozen=True, slots=True)
class Call(Generic[ModelT]):
    """A request and the model of its answer. `repeatable`: twice does what once does."""

    method: str
    path: str
    answer: type[ModelT]
    repeatable: bool = True
    params: Mapping[str, str | int] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | MultipartBody | None = None
    also_accepts: frozenset[int] = frozenset()

    def read(self, body: bytes) -> ModelT:
        """The answer as its model; fields of a newer server are left out."""
        try:
            return self.answer.model_validate_json(body or b"{}", extra="ignore")
        except ValidationError as failure:
            raise UnexpectedAnswer(
                f"{self.method} {self.path} answered something this client cannot read. "
                "Check that the address is ragserve's."
            ) from failure


def _sent(
    method: str, path: str, body: BaseModel, answer: type[ModelT], **rest: Any
) -> Call[ModelT]:
    headers = {"Content-Type": "application/json", **rest.pop("headers", {})}
    content = body.model_dump_json(exclude_unset=True).encode()
    return Call(method, path, answer, headers=headers, body=content, **rest)


def _collection(name: str) -> str:
    return f"/v1/collections/{quote(name, safe='')}"


def _document(collection: str, document_id: str) -> str:
    return f"{_collection(collection)}/documents/{quote(document_id, safe='')}"


def _job(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"


def _key(prefix: str) -> str:
    return f"/v1/keys/{quote(prefix, safe='')}"


def _params(**values: str | int | None) -> dict[str, str | int]:
    return {name: value for name, value in values.items() if value is not None}


def _idempotency(key: str | None) -> dict[str, str]:
    return {"Idempotency-Key": key or str(uuid.uuid4())}


def me() -> Call[PrincipalOut]:
    """GET /v1/me."""
    return Call("GET", "/v1/me", PrincipalOut)


def ready() -> Call[HealthOut]:
    """GET /health/ready."""
    # A server that is not ready says so with 503 and the same body.
    return Call("GET", "/health/ready", HealthOut, also_accepts=frozenset({503}))


def list_collections() -> Call[CollectionList]:
    """GET /v1/collections."""
    return Call("GET", "/v1/collections", CollectionList)


def get_collection(name: str) -> Call[CollectionOut]:
    """GET /v1/collections/{c}."""
    return Call("GET", _collection(name), CollectionOut)


def create_collection(body: CollectionCreate) -> Call[CollectionOut]:
    """POST /v1/collections."""
    return _sent("POST", "/v1/collections", body, CollectionOut, repeatable=False)


def delete_collection(name: str) -> Call[Nothing]:
    """DELETE /v1/collections/{c}."""
    return Call("DELETE", _collection(name), Nothing)


def upload(collection: str, body: MultipartBody, idempotency_key: str | None) -> Call[JobOut]:
    """POST /v1/collections/{c}/documents, as files."""
    headers = {**body.headers, **_idempotency(idempotency_key)}
    return Call("POST", f"{_collection(collection)}/documents", JobOut, headers=headers, body=body)


def add_texts(collection: str, body: TextDocuments, idempotency_key: str | None) -> Call[JobOut]:
    """POST /v1/collections/{c}/documents, as JSON."""
    path = f"{_collection(collection)}/documents"
    return _sent("POST", path, body, JobOut, headers=_idempotency(idempotency_key))


def add_sources(
    collection: str, body: SourceDocuments, idempotency_key: str | None
) -> Call[JobOut]:
    """POST /v1/collections/{c}/documents, as URLs."""
    path = f"{_collection(collection)}/documents"
    return _sent("POST", path, body, JobOut, headers=_idempotency(idempotency_key))


def list_documents(collection: str, offset: int, limit: int) -> Call[DocumentList]:
    """GET /v1/collections/{c}/documents."""
    params = _params(offset=offset, limit=limit)
    return Call("GET", f"{_collection(collection)}/documents", DocumentList, params=params)


def get_document(collection: str, document_id: str) -> Call[DocumentOut]:
    """GET /v1/collections/{c}/documents/{id}."""
    return Call("GET", _document(collection, document_id), DocumentOut)


def delete_document(collection: str, document_id: str) -> Call[Nothing]:
    """DELETE /v1/collections/{c}/documents/{id}."""
    return Call("DELETE", _document(collection, document_id), Nothing)


def list_jobs(
    state: str | None, collection: str | None, limit: int, cursor: str | None
) -> Call[JobList]:
    """GET /v1/jobs."""
    params = _params(state=state, collection=collection, limit=limit, cursor=cursor)
    return Call("GET", "/v1/jobs", JobList, params=params)


def get_job(job_id: str) -> Call[JobOut]:
    """GET /v1/jobs/{id}."""
    return Call("GET", _job(job_id), JobOut)


def cancel_job(job_id: str) -> Call[JobOut]:
    """POST /v1/jobs/{id}/cancel."""
    return Call("POST", f"{_job(job_id)}/cancel", JobOut, repeatable=False)


def resume_job(job_id: str) -> Call[JobOut]:
    """POST /v1/jobs/{id}/resume."""
    return Call("POST", f"{_job(job_id)}/resume", JobOut, repeatable=False)


def job_events(job_id: str, last_event_id: str | None) -> Call[Nothing]:
    """GET /v1/jobs/{id}/events."""
    headers = {"Accept": "text/event-stream"}
    if last_event_id:
        headers["Last-Event-ID"] = last_event_id
    return Call("GET", f"{_job(job_id)}/events", Nothing, headers=headers)


def create_key(body: KeyCreate) -> Call[KeyMade]:
    """POST /v1/keys."""
    return _sent("POST", "/v1/keys", body, KeyMade, repeatable=False)


def list_keys() -> Call[KeyList]:
    """GET /v1/keys."""
    return Call("GET", "/v1/keys", KeyList)


def rotate_key(prefix: str, body: KeyRotate) -> Call[KeyMade]:
    """POST /v1/keys/{prefix}/rotate."""
    return _sent("POST", f"{_key(prefix)}/rotate", body, KeyMade, repeatable=False)


def revoke_key(prefix: str) -> Call[Nothing]:
    """DELETE /v1/keys/{prefix}."""
    return Call("DELETE", _key(prefix), Nothing)


def search(body: SearchIn) -> Call[SearchOut]:
    """POST /v1/search."""
    return _sent("POST", "/v1/search", body, SearchOut)


def query(body: QueryIn) -> Call[QueryOut]:
    """POST /v1/query."""
    return _sent("POST", "/v1/query", _streaming(body, stream=False), QueryOut)


def stream_query(body: QueryIn) -> Call[Nothing]:
    """POST /v1/query with stream."""
    headers = {"Accept": "text/event-stream"}
    return _sent("POST", "/v1/query", _streaming(body, stream=True), Nothing, headers=headers)


def _streaming(body: QueryIn, *, stream: bool) -> QueryIn:
    return body.model_copy(update={"stream": stream})


def job_of(data: str) -> JobOut:
    """The job that an event carries."""
    try:
        return JobOut.model_validate_json(data, extra="ignore")
    except ValidationError as failure:
        raise UnexpectedAnswer("The server sent a job that this client cannot read.") from failure
