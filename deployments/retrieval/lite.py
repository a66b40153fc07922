"""What Milvus does for its writers and Milvus Lite does not.

Lite takes one writer a collection at a time (two at once can lose rows), whichever processes they
run in: writers take turns by a file lock, which the kernel frees when one dies. And rows that were
not flushed are searched by brute force, some 60 times slower than flushed ones: 10,000 took 0.7 s
by vector and 3.2 s by words. So rows are flushed every so many, and when writing pauses.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from pymilvus import AsyncMilvusClient

from deployments.errors import RagserveError, StoreUnavailable
from deployments.retrieval.connection import Connection

FLUSH_ROWS: Final = 500
FLUSH_AFTER_S: Final = 0.5

_FIRST_WAIT_S: Final = 0.002
_LONGEST_WAIT_S: Final = 0.05


class LiteWriter:
    """Writes to Milvus Lite, one at a time, and flushes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._unflushed: dict[str, int] = {}
        self._pauses: dict[str, asyncio.Task[None]] = {}

    async def write(
        self,
        collection: str,
        rows: int,
        operation: Callable[[AsyncMilvusClient], Awaitable[Any]],
    ) -> None:
        """Run one write of so many rows. Raises as `Connection.call` does."""
        if (pause := self._pauses.pop(collection, None)) is not None:
            pause.cancel()
        try:
            async with self._turn(collection):
                await self._connection.call(operation, collection)
        finally:
            # Even a write given up on may have arrived.
            self._unflushed[collection] = self._unflushed.get(collection, 0) + rows
            if self._unflushed[collection] < FLUSH_ROWS:
                self._pauses[collection] = asyncio.create_task(self._flush_later(collection))
        if self._unflushed[collection] >= FLUSH_ROWS:
            await self._flush(collection)

    def forget(self, collection: str) -> None:
        """The collection was dropped."""
        self._unflushed.pop(collection, None)
        if (pause := self._pauses.pop(collection, None)) is not None:
            pause.cancel()

    async def close(self) -> None:
        """Flush what was written."""
        for pause in self._pauses.values():
            pause.cancel()
        self._pauses.clear()
        for collection in list(self._unflushed):
            with contextlib.suppress(RagserveError):
                await self._flush(collection)

    async def _flush_later(self, collection: str) -> None:
        await asyncio.sleep(FLUSH_AFTER_S)
        # From here on a new write waits for its turn instead of cancelling this.
        self._pauses.pop(collection, None)
        with contextlib.suppress(RagserveError):
            await self._flush(collection)

    async def _flush(self, collection: str) -> None:
        self._unflushed.pop(collection, None)
        async with self._turn(collection):
            await self._connection.call(lambda client: client.flush(collection), collection)

    @contextlib.asynccontextmanager
    async def _turn(self, collection: str) -> AsyncIterator[None]:
        handle = _open_lock(self._connection.uri, collection)
        try:
            try:
                async with asyncio.timeout(self._connection.timeout_s):
                    await _lock(handle)
            except TimeoutError:
                raise StoreUnavailable("other writers keep the collection busy") from None
            yield
        finally:
            os.close(handle)


async def _lock(handle: int) -> None:
    wait_s = _FIRST_WAIT_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        else:
            return


def _open_lock(uri: str, collection: str) -> int:
    folder = Path(tempfile.gettempdir()) / f"ragserve-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    name = blake2b(f"{uri} {collection}".encode(), digest_size=12).hexdigest()
    return os.open(folder / f"writer-{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
