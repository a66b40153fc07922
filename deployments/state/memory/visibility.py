"""The twin of RedisVisibility."""

from __future__ import annotations

from collections.abc import Sequence

from deployments.contracts.jobs import Snapshot
from deployments.state.memory.versions import retire_version
from deployments.state.memory.world import World


class MemoryVisibility:
    """Hidden versions, the epochs of collections, and the sweep's agenda."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def snapshot(self, collection: str) -> Snapshot:
        entry = self._world.collection(collection)
        return Snapshot(entry.epoch, frozenset(entry.hidden))

    async def hide(self, collection: str, versions: Sequence[int]) -> None:
        for version in versions:
            retire_version(self._world, collection, version)
        self._world.collection(collection).epoch = self._world.next_number()

    async def due(self, now_s: float) -> list[tuple[str, int]]:
        agenda = [
            (due_at_s, collection, version)
            for collection, entry in self._world.collections.items()
            for version, due_at_s in entry.due_at_s.items()
            if due_at_s <= now_s
        ]
        return [(collection, version) for _, collection, version in sorted(agenda)]

    async def swept(self, collection: str, version: int) -> None:
        entry = self._world.collection(collection)
        forget_at_s = entry.forget_at_s.get(version)
        if forget_at_s is None:
            return  # visible, open or forgotten: not the sweep's
        if self._world.clock_s() < forget_at_s:
            entry.due_at_s[version] = forget_at_s
            return
        del entry.due_at_s[version]
        del entry.forget_at_s[version]
        entry.hidden.discard(version)

    async def forget(self, collection: str) -> None:
        entry = self._world.collection(collection)
        entry.fence = entry.dropped = self._world.next_number()
        entry.lease = None
        entry.epoch = self._world.next_number()
