"""Where uploads wait for their ingestion, and nothing else: a folder, or a bucket.

Layout `<root>/<job id>/<file number>`. A blob appears whole or not at all, and a job's blobs go
when the job ends; `sweep` removes what a dead process left.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncIterable, Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import fsspec

from deployments.errors import (
    BlobsFull,
    BlobsUnavailable,
    ConfigurationError,
    InvalidRequest,
    StagedFileLost,
    TooLarge,
)
from deployments.ingestion.readers.document import MIB

_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_WRITE_BYTES = MIB
"""Collected before a thread writes: a hop to a thread costs as much as writing 64 KiB."""
_PART_SUFFIX = ".part"

T = TypeVar("T")

FreeSpace = Callable[[Path], int]


@dataclass(frozen=True, slots=True)
class StagedBlob:
    """One upload as it lies in the store; `sha256` is hex."""

    url: str
    size_bytes: int
    sha256: str


class BlobStore:
    """Staged uploads under one root: a path, `file://` or any URL that fsspec knows.

    Puts to a local root are refused once less than `min_free_bytes` would stay free on its disk.
    """

    def __init__(
        self,
        root: str,
        *,
        min_free_bytes: int = 512 * MIB,
        free_space: FreeSpace = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        self._files = _filesystem(root)
        self._root = str(self._files._strip_protocol(root)).rstrip("/")  # noqa: SLF001 - fsspec's own way
        self._local = _is_local(self._files)
        if self._local:
            self._root = str(Path(self._root).resolve())
        self._min_free_bytes = min_free_bytes
        self._free_space = free_space

    async def put(
        self, job_id: str, number: int, stream: AsyncIterable[bytes], max_bytes: int
    ) -> StagedBlob:
        """Write a stream, hashing it on the way. Whoever leaves in the middle leaves nothing.

        Raises:
            TooLarge: the stream is longer than `max_bytes`.
            BlobsFull: no room for it.
            BlobsUnavailable: the store cannot be written to.
        """
        upload = _Upload(self, self._path(job_id, number), max_bytes)
        try:
            await _in_thread(upload.open)
            async for piece in stream:
                if upload.take(piece):
                    await _in_thread(upload.flush)
            await _in_thread(upload.commit)
        except BaseException:
            # Shielded: a second cancellation must not keep the partial file alive.
            await asyncio.shield(asyncio.to_thread(upload.abort))
            raise
        return StagedBlob(self._url(upload.path), upload.size_bytes, upload.sha256)

    @contextmanager
    def open_local(self, url: str) -> Iterator[Path]:
        """A local path to read the blob from, good inside the `with`. Blocks; for worker threads.

        Raises:
            StagedFileLost: the blob is gone.
            BlobsUnavailable: it is not of this store, or the store is out.
        """
        path = self._owned(url)
        if self._local:
            if not Path(path).is_file():
                raise StagedFileLost("The staged file is gone; send it again.")
            yield Path(path)
            return
        with tempfile.TemporaryDirectory(prefix="ragserve-blob-") as folder:
            local = Path(folder) / "blob"
            try:
                self._files.get_file(path, str(local))
            except FileNotFoundError as error:
                raise StagedFileLost("The staged file is gone; send it again.") from error
            except Exception as error:  # each store has its own errors
                raise BlobsUnavailable("The blob store cannot be read.") from error
            yield local

    async def delete_job(self, job_id: str) -> None:
        """Remove all blobs of a job. Removing nothing is fine.

        Raises:
            BlobsUnavailable: the store cannot be written to.
        """
        await _in_thread(lambda: self._delete(self._folder(job_id)))

    async def sweep(self, keep: Collection[str], older_than_s: float) -> list[str]:
        """Remove jobs not in `keep` that were last written more than `older_than_s` ago.

        Returns the ids of the jobs removed.

        Raises:
            BlobsUnavailable: the store cannot be read or written to.
        """
        return await _in_thread(lambda: self._sweep(frozenset(keep), time.time() - older_than_s))

    async def ping(self) -> None:
        """Return when the store can be listed. Raises BlobsUnavailable."""
        await _in_thread(self._list_jobs)

    # What follows blocks, and runs in threads.

    def open_for_writing(self, path: str) -> BinaryIO:
        self.check_space(0)
        self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        file: BinaryIO = self._files.open(self._written_path(path), "wb")
        return file

    def check_space(self, more_bytes: int) -> None:
        """Raises BlobsFull where `more_bytes` would take the disk below its floor."""
        if not self._local:
            return
        folder = Path(self._root)
        while not folder.exists():
            folder = folder.parent
        if self._free_space(folder) - more_bytes < self._min_free_bytes:
            raise BlobsFull("There is no room for more uploads now.")

    def publish(self, path: str, file: BinaryIO) -> None:
        """Make what was written the blob: durable first, then visible, in one step."""
        if not self._local:
            file.close()
            return
        file.flush()
        os.fsync(file.fileno())
        file.close()
        Path(self._written_path(path)).replace(path)
        _sync_folder(Path(path).parent)

    def discard(self, path: str, file: BinaryIO) -> None:
        """Drop what was written so far, wherever it is."""
        abandon = getattr(file, "discard", None)
        with suppress(Exception):  # an upload in parts is dropped where it can be
            if abandon is not None and not self._local:
                file.closed or abandon()
        with suppress(Exception):
            if self._local or abandon is None:
                file.close()
        for leftover in {self._written_path(path), path}:
            with suppress(Exception):
                self._files.rm_file(leftover)
        with suppress(Exception):  # not empty: the job has other blobs
            self._files.rmdir(path.rpartition("/")[0])

    def _delete(self, folder: str) -> None:
        with suppress(FileNotFoundError):
            self._files.rm(folder, recursive=True)

    def _sweep(self, keep: frozenset[str], before_s: float) -> list[str]:
        removed = []
        for job_id in self._list_jobs():
            folder = self._folder(job_id)
            if job_id not in keep and self._written_at_s(folder) < before_s:
                self._delete(folder)
                removed.append(job_id)
        return removed

    def _list_jobs(self) -> list[str]:
        try:
            entries = self._files.ls(self._root, detail=False, refresh=True)
        except FileNotFoundError:
            return []
        names = (str(entry).rstrip("/").rpartition("/")[2] for entry in entries)
        return sorted(name for name in names if _JOB_ID.fullmatch(name))

    def _written_at_s(self, folder: str) -> float:
        """When the newest blob of the folder was written; a folder without any may go at once."""
        times = [0.0]
        for info in self._files.find(folder, detail=True).values():
            moment = info.get("mtime") or info.get("LastModified") or info.get("created") or 0.0
            times.append(moment.timestamp() if hasattr(moment, "timestamp") else float(moment))
        if self._local and len(times) == 1:
            times.append(Path(folder).stat().st_mtime)
        return max(times)

    def _folder(self, job_id: str) -> str:
        if not _JOB_ID.fullmatch(job_id):
            raise InvalidRequest("A job id holds letters, digits, - and _ only.")
        return f"{self._root}/{job_id}"

    def _path(self, job_id: str, number: int) -> str:
        return f"{self._folder(job_id)}/{number:d}"

    def _written_path(self, path: str) -> str:
        """Local files are written aside and renamed; buckets show an object once it is whole."""
        return f"{path}{_PART_SUFFIX}" if self._local else path

    def _url(self, path: str) -> str:
        return str(self._files.unstrip_protocol(path))

    def _owned(self, url: str) -> str:
        path = str(self._files._strip_protocol(url))  # noqa: SLF001 - fsspec's own way
        below = path.removeprefix(f"{self._root}/")
        job_id, _, number = below.partition("/")
        if below == path or not _JOB_ID.fullmatch(job_id) or not number.isdecimal():
            raise BlobsUnavailable("The file is not in this blob store.", url=url)
        return path


class _Upload:
    """One blob being written. Its methods run in threads, one after the other."""

    def __init__(self, store: BlobStore, path: str, max_bytes: int) -> None:
        self.path = path
        self.size_bytes = 0
        self._store = store
        self._max_bytes = max_bytes
        self._hash = hashlib.sha256()
        self._pending = bytearray()
        self._file: BinaryIO | None = None
        self._busy = threading.Lock()  # a cancelled caller does not stop its thread: abort waits
        self._ended = False

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def take(self, piece: bytes) -> bool:
        """Keep a piece; True when there is enough to write."""
        self.size_bytes += len(piece)
        if self.size_bytes > self._max_bytes:
            raise TooLarge(
                f"The file is larger than the limit of {self._max_bytes:,} bytes.",
                limit_bytes=self._max_bytes,
            )
        self._pending += piece
        return len(self._pending) >= _WRITE_BYTES

    def open(self) -> None:
        with self._busy:
            if not self._ended:
                self._file = self._store.open_for_writing(self.path)

    def flush(self) -> None:
        with self._busy:
            self._write()

    def commit(self) -> None:
        with self._busy:
            self._write()
            if self._file is not None and not self._ended:
                self._store.publish(self.path, self._file)

    def abort(self) -> None:
        with self._busy:
            self._ended = True
            if self._file is not None:
                self._store.discard(self.path, self._file)

    def _write(self) -> None:
        if self._ended or self._file is None:
            return
        self._store.check_space(len(self._pending))
        self._hash.update(self._pending)
        self._file.write(self._pending)
        self._pending.clear()


async def _in_thread(work: Callable[[], T]) -> T:
    """Run blocking work off the loop, its errors in our terms."""
    try:
        return await asyncio.to_thread(work)
    except (TooLarge, BlobsFull, BlobsUnavailable, InvalidRequest):
        raise
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise BlobsFull("There is no room for more uploads now.") from error
        raise BlobsUnavailable("The blob store cannot be used now.") from error
    except Exception as error:  # each store has its own errors
        raise BlobsUnavailable("The blob store cannot be used now.") from error


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def _filesystem(root: str) -> Any:
    if "::" in root:
        raise ConfigurationError("The blob store's URL must name one store, not a chain.")
    try:
        return fsspec.core.url_to_fs(root)[0]
    except (ImportError, ValueError) as error:
        raise ConfigurationError(f"The blob store's URL cannot be used: {error}") from error


def _is_local(files: Any) -> bool:
    protocols = files.protocol if isinstance(files.protocol, tuple) else (files.protocol,)
    return "file" in protocols


def _sync_folder(folder: Path) -> None:
    """A rename is durable once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
