"""What callers send, staged for ingestion: bytes in the blob store, and a file's specification."""

from __future__ import annotations

import hashlib
import json
import math
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
from deployments.retrieval.filters import MAX_EXACT_INTEGER, METADATA_KEY
from serve_app.schemas import TextDocument

READ_BYTES = 1024 * 1024
MAX_SOURCE_CHARS = 500
MAX_METADATA_KEYS = 64
MAX_METADATA_BYTES = 32 * 1024
"""Half of what the store takes: the readers add what they find in the file."""


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
            name=PurePosixPath(source).name,
            source=source,
            content_type=detect_content_type(source, head, upload.content_type),
            metadata=metadata,
        )

    async def add_text(self, document: TextDocument) -> None:
        """Stage a document that came as JSON; its title is its source."""
        await self._add(
            _once(document.text.encode()),
            document_id=document.id or document_id_of(document.title),
            name=document.title,
            source=document.title,
            content_type=document.content_type,
            metadata=check_metadata(document.metadata),
            title=document.title,
        )

    async def add_source(
        self, url: str, name: str, pieces: AsyncIterator[bytes], metadata: Metadata
    ) -> None:
        """Stage what is at a URL, which is the document's source."""
        head = bytearray()
        async for piece in pieces:
            head += piece
            if len(head) >= HEAD_BYTES:
                break
        await self._add(
            _rest(bytes(head), pieces),
            document_id=document_id_of(url),
            name=name,
            source=url,
            content_type=detect_content_type(name, bytes(head)),
            metadata=metadata,
        )

    async def _add(
        self,
        pieces: AsyncIterator[bytes],
        *,
        document_id: str,
        name: str,
        source: str,
        content_type: str,
        metadata: Metadata,
        title: str = "",
    ) -> None:
        if any(file.document_id == document_id for file in self.files):
            # Two attempts at one document at once could both become visible.
            raise InvalidRequest(f"The document {source!r} is in the request twice.")
        number = len(self.files)
        blob = await self._blobs.put(self.job_id, number, pieces, self._max_file_bytes)
        self.files.append(
            FileSpec(
                number=number,
                document_id=document_id,
                name=name,
                source=source,
                blob_url=blob.url,
                content_type=content_type,
                content_hash=blob.sha256,
                size_bytes=blob.size_bytes,
                metadata=metadata,
                title=title,
            )
        )


def clean_source(filename: str) -> str:
    """A relative path without tricks: it names the document and never a place on this machine.

    Raises:
        InvalidRequest: there is no name in it.
    """
    printable = "".join(character for character in filename if character.isprintable())
    parts = [part.strip() for part in printable.replace("\\", "/").split("/")]
    source = "/".join(part for part in parts if part not in ("", ".", ".."))
    if not source:
        raise InvalidRequest("Every file needs a name.")
    if len(source) > MAX_SOURCE_CHARS:
        raise InvalidRequest(f"A file's name has {MAX_SOURCE_CHARS} characters at most.")
    return source


def check_metadata(metadata: Mapping[str, Any]) -> Metadata:
    """Metadata as the store holds it: strings, numbers, booleans and lists of them.

    Raises:
        InvalidRequest: naming the key that holds something else.
    """
    if len(metadata) > MAX_METADATA_KEYS:
        raise InvalidRequest(f"Metadata has {MAX_METADATA_KEYS} keys at most.")
    for name, value in metadata.items():
        values = value if isinstance(value, list) else [value]
        if METADATA_KEY.fullmatch(name) is None:
            raise InvalidRequest(
                f"Metadata key {name[:64]!r} must be letters, digits and _ . - and start with a "
                "letter or _, at most 64 characters."
            )
        if not all(_storable(item) for item in values):
            raise InvalidRequest(
                f"Metadata {name!r} must be a string, number, boolean or a list of these."
            )
    if len(json.dumps(metadata)) > MAX_METADATA_BYTES:
        raise InvalidRequest(f"Metadata has {MAX_METADATA_BYTES} bytes at most.")
    return dict(metadata)


def _storable(value: object) -> bool:
    match value:
        case str():
            return not any("\ud800" <= character <= "\udfff" for character in value)
        case bool():
            return True
        case int():
            return abs(value) <= MAX_EXACT_INTEGER
        case float():
            return math.isfinite(value)
        case _:
            return False


async def _pieces(upload: UploadFile) -> AsyncIterator[bytes]:
    while piece := await upload.read(READ_BYTES):
        yield piece


async def _rest(head: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield head
    async for piece in pieces:
        yield piece


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
