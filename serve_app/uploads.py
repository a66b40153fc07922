"""What callers send, staged for ingestion: bytes in the blob store, and a file's specification."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from starlette.datastructures import UploadFile

from deployments.contracts.jobs import FileSpec
from deployments.contracts.retrieval import Metadata
from deployments.errors import InvalidRequest
from deployments.ingestion.blobs import BlobStore
from deployments.ingestion.readers.content_types import HEAD_BYTES, detect_content_type
from serve_app.schemas import TextDocument

READ_BYTES = 1024 * 1024
MAX_SOURCE_CHARS = 500


def new_job_id() -> str:
    """Sorts by time: milliseconds first, then enough chance to be nobody else's."""
    return f"job_{int(time.time() * 1000):012x}{secrets.token_hex(6)}"


def document_id_of(source: str) -> str:
    """The id of a document that came without one: the same source is the same document."""
    return f"doc_{hashlib.sha256(source.encode()).hexdigest()[:24]}"


class Staging:
    """Stages the files of one job; what was staged is removed where the job never came to be."""

    def __init__(self, blobs: BlobStore, job_id: str, max_file_bytes: int) -> None:
        self._blobs = blobs
        self._max_file_bytes = max_file_bytes
        self.job_id = job_id
        self.files: list[FileSpec] = []

    async def __aenter__(self) -> Staging:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            await self._blobs.delete_job(self.job_id)

    async def add_upload(self, upload: UploadFile, metadata: Metadata) -> None:
        """Stage an uploaded file; its relative path is the document's source."""
        source = clean_source(upload.filename or "")
        head = await upload.read(HEAD_BYTES)
        await upload.seek(0)
        await self._add(
            _pieces(upload),
            document_id=document_id_of(source),
            source=source,
            content_type=detect_content_type(source, head, upload.content_type),
            metadata=metadata,
        )

    async def add_text(self, document: TextDocument) -> None:
        """Stage a document that came as JSON; its title is its source."""
        await self._add(
            _once(document.text.encode()),
            document_id=document.id or document_id_of(document.title),
            source=document.title,
            content_type=document.content_type,
            metadata=check_metadata(document.metadata),
        )

    async def _add(
        self,
        pieces: AsyncIterator[bytes],
        *,
        document_id: str,
        source: str,
        content_type: str,
        metadata: Metadata,
    ) -> None:
        number = len(self.files)
        blob = await self._blobs.put(self.job_id, number, pieces, self._max_file_bytes)
        self.files.append(
            FileSpec(
                number=number,
                document_id=document_id,
                name=PurePosixPath(source).name or source,
                source=source,
                blob_url=blob.url,
                content_type=content_type,
                content_hash=blob.sha256,
                size_bytes=blob.size_bytes,
                metadata=metadata,
            )
        )


def clean_source(filename: str) -> str:
    """A relative path without tricks: it names the document and never a place on this machine.

    Raises:
        InvalidRequest: there is no name in it.
    """
    parts = [
        part
        for part in PurePosixPath(filename.replace("\\", "/")).parts
        if part not in ("/", ".", "..")
    ]
    source = "".join(c for c in "/".join(parts) if c.isprintable())[:MAX_SOURCE_CHARS]
    if not source:
        raise InvalidRequest("Every file needs a name.")
    return source


def check_metadata(metadata: Mapping[str, Any]) -> Metadata:
    """Metadata as the store holds it: strings, numbers, booleans and lists of them.

    Raises:
        InvalidRequest: naming the key that holds something else.
    """
    for name, value in metadata.items():
        values = value if isinstance(value, list) else [value]
        if not name.isidentifier() or len(name) > 64:
            raise InvalidRequest(f"Metadata key {name!r} must be letters, digits and underscores.")
        if not all(isinstance(item, str | int | float | bool) for item in values):
            raise InvalidRequest(
                f"Metadata {name!r} must be a string, number, boolean or a list of these."
            )
    return dict(metadata)


async def _pieces(upload: UploadFile) -> AsyncIterator[bytes]:
    while piece := await upload.read(READ_BYTES):
        yield piece


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
