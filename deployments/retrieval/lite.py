"""What Milvus does for its writers and Milvus Lite does not.

Lite takes one writer a collection at a time (two at once can lose rows), whichever processes they
run in: writers take turns by a file lock, which the kernel frees when one dies. And rows that were
not flushed are searched by brute force, some 60 times slower than flushed ones: 10,000 took 0.7 s
by vector and 3.2 s by words. So rows are flushed every so many, and when writing pauses.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

from pymilvus import AsyncMilvusClient

from deployments.errors import RagserveError
from deployments.retrieval.connection import Connection
from deployments.retrieval.turns import turn

FLUSH_ROWS: Final = 500
FLUSH_AFTER_S: Final = 0.5


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
            async with turn(self._turn_of(collection), self._connection.timeout_s):
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
        async with turn(self._turn_of(collection), self._connection.timeout_s):
            await self._connection.call(lambda client: client.flush(collection), collection)

    def _turn_of(self, collection: str) -> str:
        return f"write {self._connection.uri} {collection}"
