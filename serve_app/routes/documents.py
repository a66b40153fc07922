"""Documents: taken in as jobs, listed and deleted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic_core import from_json
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from deployments.contracts.identity import Principal
from deployments.contracts.jobs import FileSpec, Job
from deployments.contracts.retrieval import Document
from deployments.errors import (
    DocumentNotFound,
    IdempotencyKeyReused,
    InvalidRequest,
    TooLarge,
    UnsupportedMediaType,
)
from deployments.ingestion.model_match import require_model
from serve_app.fetching import stage_sources
from serve_app.routes.access import (
    UsesServices,
    api_root,
    needs,
    note,
    problems,
    require_collection,
    require_writable,
)
from serve_app.routes.translate import document_out, job_out
from serve_app.schemas import (
    CollectionName,
    DocumentId,
    DocumentList,
    DocumentOut,
    JobOut,
    SourceDocuments,
    TextDocuments,
)
from serve_app.services import Services
from serve_app.uploads import Staging, check_metadata, new_job_id

router = APIRouter(prefix="/v1/collections/{collection}/documents", tags=["documents"])

Reader = Annotated[Principal, Depends(needs("query"))]
Writer = Annotated[Principal, Depends(needs("ingest", bucket="ingestion"))]
IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=200)]

MULTIPART = {
    "schema": {
        "type": "object",
        "required": ["files"],
        "properties": {
            "files": {
                "type": "array",
                "items": {"type": "string", "contentMediaType": "application/octet-stream"},
                "description": "A relative path as the file name becomes the document's source.",
            },
            "metadata": {
                "type": "string",
                "contentMediaType": "application/json",
                "description": "An object of strings, numbers, booleans or lists of them.",
            },
        },
    }
}
REQUEST_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": MULTIPART,
            "application/json": {
                "schema": {
                    "oneOf": [
                        {"$ref": f"#/components/schemas/{shape.__name__}"}
                        for shape in (TextDocuments, SourceDocuments)
                    ]
                }
            },
        },
    }
}


@router.post(
    "",
    status_code=202,
    responses=problems(400, 404, 409, 413, 415, 429, 503, 507),
    openapi_extra=REQUEST_BODY,
)
async def ingest_documents(
    collection: CollectionName,
    request: Request,
    response: Response,
    caller: Writer,
    services: UsesServices,
    idempotency_key: IdempotencyKey = None,
) -> JobOut:
    """Take in files (multipart), texts or URLs (JSON). Answers with the job to follow.

    A document of the same source, or the same id, replaces the one there; an unchanged one is
    left alone. URLs are fetched before the answer, from where the operator allows. Send an
    `Idempotency-Key` to make a repeated request harmless: it is answered with the first one's job.
    """
    require_writable(caller, collection)
    require_model(await services.store.get_collection(collection), await services.embedder.model())
    uploads = services.args.uploads
    async with Staging(services.blobs, new_job_id(), uploads.max_file_bytes) as staging:
        await _stage(request, staging, services)
        job = await services.jobs.submit(
            staging.job_id, collection, caller.id, staging.files, idempotency_key
        )
    note(request, job=job.id, files=len(staging.files))
    files = await services.jobs.files(job.id, limit=uploads.max_files)
    if job.id != staging.job_id:
        # The key was used before: that job stands, and these bytes are not needed.
        await services.blobs.delete_job(staging.job_id)
        _require_same_request(collection, staging.files, job, [status.spec for status in files])
    response.headers["Location"] = f"{api_root(request)}/jobs/{job.id}"
    return job_out(job, files)


@router.get("", responses=problems(404, 503))
async def list_documents(
    collection: CollectionName,
    caller: Reader,
    services: UsesServices,
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> DocumentList:
    """The documents of a collection, by title."""
    require_collection(caller, collection)
    snapshot = await services.visibility.snapshot(collection)
    documents = await services.store.list_documents(
        collection, offset=offset, limit=limit, hidden_versions=snapshot.hidden_versions
    )
    return DocumentList(
        documents=[document_out(document) for document in documents],
        total=await services.holdings.documents(collection, snapshot),
        offset=offset,
        limit=limit,
    )


@router.get("/{document_id}", responses=problems(404, 503))
async def get_document(
    collection: CollectionName, document_id: DocumentId, caller: Reader, services: UsesServices
) -> DocumentOut:
    """One document."""
    require_collection(caller, collection)
    return document_out((await _visible(services, collection, document_id))[-1])


@router.delete("/{document_id}", status_code=204, responses=problems(404, 429, 503))
async def delete_document(
    collection: CollectionName, document_id: DocumentId, caller: Writer, services: UsesServices
) -> None:
    """Delete a document: searches do not find it from the next one on."""
    require_writable(caller, collection)
    versions = await _visible(services, collection, document_id)
    await services.visibility.hide(collection, [document.version for document in versions])


async def _visible(services: Services, collection: str, document_id: str) -> list[Document]:
    hidden = (await services.visibility.snapshot(collection)).hidden_versions
    found = await services.store.find_documents(collection, document_id)
    visible = [document for document in found if document.version not in hidden]
    if not visible:
        raise DocumentNotFound(f"There is no document '{document_id}'.", document=document_id)
    return visible


def _require_same_request(
    collection: str, sent: Sequence[FileSpec], job: Job, first: Sequence[FileSpec]
) -> None:
    def content(files: Sequence[FileSpec]) -> set[tuple[str, str]]:
        return {(file.document_id, file.content_hash) for file in files}

    if job.collection != collection or content(sent) != content(first):
        raise IdempotencyKeyReused("This Idempotency-Key came with another request before.")


async def _stage(request: Request, staging: Staging, services: Services) -> None:
    uploads = services.args.uploads
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        request.state.body.max_bytes = uploads.max_json_bytes
        match _documents(await request.body()):
            case SourceDocuments() as asked:
                await stage_sources(asked, services.sources, staging, services.args.sources)
            case TextDocuments() as sent:
                for document in sent.documents:
                    await staging.add_text(document)
    elif kind == "multipart/form-data":
        request.state.body.max_bytes = uploads.max_request_bytes
        await _stage_form(request, staging, uploads.max_files)
    else:
        raise UnsupportedMediaType("Send multipart/form-data with files, or application/json.")


async def _stage_form(request: Request, staging: Staging, max_files: int) -> None:
    try:
        form = await request.form(max_files=max_files, max_fields=10)
    except HTTPException as error:  # Starlette's word for a form that it cannot read
        if "Too many files" in error.detail:
            raise TooLarge(f"At most {max_files} files a job.", max_files=max_files) from None
        raise InvalidRequest(f"The form cannot be read: {error.detail}") from None
    try:
        metadata = _form_metadata(form)
        files = [item for item in form.getlist("files") if isinstance(item, UploadFile)]
        if not files:
            raise InvalidRequest("The form holds no files; send them as 'files'.")
        for upload in files:
            await staging.add_upload(upload, metadata)
    finally:
        await form.close()


def _form_metadata(form: FormData) -> Any:
    text = form.get("metadata", "{}")
    try:
        value = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidRequest("'metadata' must be a JSON object.")
    return check_metadata(value)


def _documents(body: bytes) -> TextDocuments | SourceDocuments:
    # Not a union: its errors would speak of both shapes, whichever was meant.
    shape = SourceDocuments if _has_member(body, "sources") else TextDocuments
    try:
        return shape.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False)
        raise RequestValidationError(
            [fault | {"loc": ("body", *fault["loc"])} for fault in faults]
        ) from None


def _has_member(body: bytes, name: str) -> bool:
    try:
        value = from_json(body)
    except ValueError:
        return False
    return isinstance(value, dict) and name in value
