"""Documents: taken in as jobs, listed and deleted."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException

from deployments.contracts.identity import Principal
from deployments.contracts.retrieval import Collection, Document
from deployments.errors import DocumentNotFound, InvalidRequest, ModelMismatch, TooLarge
from serve_app.routes.access import UsesServices, needs, problems, require_collection
from serve_app.routes.translate import document_out, job_out
from serve_app.schemas import (
    CollectionName,
    DocumentId,
    DocumentList,
    DocumentOut,
    JobOut,
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
            "application/json": {"schema": TextDocuments.model_json_schema()},
        },
    }
}


@router.post(
    "",
    status_code=202,
    responses=problems(400, 404, 409, 413, 429, 503, 507),
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
    """Take in files (multipart) or texts (JSON). Answers at once with the job to follow.

    A document of the same source, or the same id, replaces the one there; an unchanged one is
    left alone. Send an `Idempotency-Key` to make a repeated request harmless.
    """
    require_collection(caller, collection)
    await _require_same_model(services, await services.store.get_collection(collection))
    uploads = services.args.uploads
    async with Staging(services.blobs, new_job_id(), uploads.max_file_bytes) as staging:
        await _stage(request, staging, uploads.max_files)
        job = await services.jobs.submit(
            staging.job_id, collection, caller.id, staging.files, idempotency_key
        )
    if job.id != staging.job_id:
        # The key was used before: that job stands, and these bytes are not needed.
        await services.blobs.delete_job(staging.job_id)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job_out(job, await services.jobs.files(job.id))


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
    hidden = (await services.visibility.snapshot(collection)).hidden_versions
    documents = await services.store.list_documents(
        collection, offset=offset, limit=limit, hidden_versions=hidden
    )
    return DocumentList(
        documents=[document_out(document) for document in documents],
        total=await services.store.count_documents(collection, hidden),
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
    require_collection(caller, collection)
    versions = await _visible(services, collection, document_id)
    await services.visibility.hide(collection, [document.version for document in versions])


async def _visible(services: Services, collection: str, document_id: str) -> list[Document]:
    hidden = (await services.visibility.snapshot(collection)).hidden_versions
    found = await services.store.find_documents(collection, document_id)
    visible = [document for document in found if document.version not in hidden]
    if not visible:
        raise DocumentNotFound(f"There is no document '{document_id}'.", document=document_id)
    return visible


async def _require_same_model(services: Services, collection: Collection) -> None:
    model = await services.embedder.model()
    if collection.model.name != model.name or collection.model.dimension != model.dimension:
        raise ModelMismatch(
            f"The collection was embedded with {collection.model.name}; this service embeds "
            f"with {model.name}. Make a new collection.",
            collection_model=collection.model.name,
            service_model=model.name,
        )


async def _stage(request: Request, staging: Staging, max_files: int) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        for document in _texts(await request.body()).documents:
            await staging.add_text(document)
    elif kind == "multipart/form-data":
        await _stage_form(request, staging, max_files)
    else:
        raise InvalidRequest("Send multipart/form-data with files, or application/json.")


async def _stage_form(request: Request, staging: Staging, max_files: int) -> None:
    try:
        form = await request.form(max_files=max_files, max_fields=10)
    except MultiPartException as error:
        if "Too many files" in error.message:
            raise TooLarge(f"At most {max_files} files a job.", max_files=max_files) from None
        raise InvalidRequest(f"The form cannot be read: {error.message}") from None
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
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InvalidRequest("'metadata' must be a JSON object.")
    return check_metadata(value)


def _texts(body: bytes) -> TextDocuments:
    try:
        return TextDocuments.model_validate_json(body)
    except ValidationError as error:
        detail = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()
        )
        raise InvalidRequest(detail) from None
