"""Uploads as multipart/form-data, read from disk while they are sent.

httpx can send files too, but opens all of them first and tells no progress. Here each file is
opened when its turn comes, so that a batch of a thousand files holds one descriptor and 256 KiB.
"""

from __future__ import annotations

import json
import mimetypes
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve_app.client.errors import UploadFailed

BLOCK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Upload:
    """A file on disk and the name it gets: a relative path becomes the document's source."""

    path: Path
    name: str

    @classmethod
    def of(cls, path: str | Path, name: str | None = None) -> Upload:
        """`path` under its own file name, or under `name`."""
        path = Path(path)
        return cls(path, name or path.name)


@dataclass(frozen=True, slots=True)
class UploadProgress:
    """How much of the files' bytes went out, and which file is being sent."""

    bytes_sent: int
    bytes_total: int
    file: str


ProgressCallback = Callable[[UploadProgress], None]


class MultipartBody:
    """A body of known length that can be iterated again for another try.

    Raises UploadFailed where a file cannot be read; sizes are taken when the body is made.
    """

    def __init__(
        self,
        uploads: Sequence[Upload],
        metadata: Mapping[str, Any] | None = None,
        on_progress: ProgressCallback | None = None,
    ) -> None:
        self._boundary = secrets.token_hex(16)
        self._on_progress = on_progress or (lambda _progress: None)
        self._fields = self._field("metadata", json.dumps(metadata)) if metadata else b""
        self._parts = [(upload, self._head(upload), _size(upload)) for upload in uploads]
        self._end = f"--{self._boundary}--\r\n".encode()
        self.bytes_total = sum(size for _, _, size in self._parts)

    @property
    def headers(self) -> dict[str, str]:
        framing = sum(len(head) + 2 for _, head, _ in self._parts)
        length = len(self._fields) + framing + self.bytes_total + len(self._end)
        return {
            "Content-Type": f"multipart/form-data; boundary={self._boundary}",
            "Content-Length": str(length),
        }

    def __iter__(self) -> Iterator[bytes]:
        """The body, block by block; reading blocks."""
        if self._fields:
            yield self._fields
        sent = 0
        for upload, head, size in self._parts:
            yield head
            for block in _blocks(upload, size):
                yield block
                sent += len(block)
                self._on_progress(UploadProgress(sent, self.bytes_total, upload.name))
            yield b"\r\n"
        yield self._end

    def _head(self, upload: Upload) -> bytes:
        kind = mimetypes.guess_type(upload.name)[0] or "application/octet-stream"
        name = upload.name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
        return (
            f"--{self._boundary}\r\n"
            f'Content-Disposition: form-data; name="files"; filename="{name}"\r\n'
            f"Content-Type: {kind}\r\n\r\n"
        ).encode()

    def _field(self, name: str, value: str) -> bytes:
        return (
            f"--{self._boundary}\r\n"
            f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        ).encode()


def _size(upload: Upload) -> int:
    try:
        return upload.path.stat().st_size
    except OSError as failure:
        raise _unreadable(upload, failure) from failure


def _blocks(upload: Upload, size: int) -> Iterator[bytes]:
    left = size
    try:
        with upload.path.open("rb") as file:
            while left and (block := file.read(min(BLOCK_BYTES, left))):
                left -= len(block)
                yield block
    except OSError as failure:
        raise _unreadable(upload, failure) from failure
    if left:
        raise UploadFailed(f"{upload.path} changed while it was being sent; try it again.")


def _unreadable(upload: Upload, failure: OSError) -> UploadFailed:
    return UploadFailed(f"{upload.path} cannot be read: {failure.strerror or failure}.")
