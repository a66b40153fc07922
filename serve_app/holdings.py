"""How much a collection holds, counted once an epoch.

Counting reads every document of the collection on milvus-lite (0.3 to 0.6 ms each), and pages of
documents ask for their number again and again.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from deployments.contracts.jobs import Snapshot, Visibility
from deployments.contracts.retrieval import VectorStore

MOST_KEPT = 1024
KEPT_S = 60.0
"""A sweep between the two queries of one count can make it wrong: not for longer than this."""


class Holdings:
    """The numbers of visible documents and chunks. Every commit and deletion is a new epoch."""

    def __init__(
        self,
        store: VectorStore,
        visibility: Visibility,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._visibility = visibility
        self._clock_s = clock_s
        self._kept: OrderedDict[tuple[str, str, int], tuple[int, float]] = OrderedDict()

    async def documents(self, collection: str, snapshot: Snapshot) -> int:
        """Documents that searches can see.

        Raises:
            CollectionNotFound, StoreUnavailable: from the store.
        """
        return await self._count("documents", collection, snapshot, self._store.count_documents)

    async def chunks(self, collection: str, snapshot: Snapshot) -> int:
        """Chunks that searches can see; raises what `documents` raises."""
        return await self._count("chunks", collection, snapshot, self._store.count_chunks)

    async def _count(
        self,
        what: str,
        collection: str,
        snapshot: Snapshot,
        count: Callable[[str, frozenset[int]], Awaitable[int]],
    ) -> int:
        key = (what, collection, snapshot.epoch)
        if not snapshot.stale and (kept := self._fresh(key)) is not None:
            return kept
        counted = await count(collection, snapshot.hidden_versions)
        # A version begun meanwhile may have been counted although nobody may see it yet.
        if not snapshot.stale and await self._visibility.snapshot(collection) == snapshot:
            self._keep(key, counted)
        return counted

    def _fresh(self, key: tuple[str, str, int]) -> int | None:
        counted, expires_s = self._kept.get(key, (0, 0.0))
        return counted if self._clock_s() < expires_s else None

    def _keep(self, key: tuple[str, str, int], counted: int) -> None:
        self._kept[key] = (counted, self._clock_s() + KEPT_S)
        self._kept.move_to_end(key)
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
