"""The twin of RedisCollectionLock."""

from __future__ import annotations

from deployments.contracts.jobs import Lease
from deployments.errors import LeaseLost
from deployments.state.memory.world import CollectionEntry, World


class MemoryCollectionLock:
    """Leases with an owner, an end and a fence."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def acquire(self, collection: str, owner: str) -> Lease | None:
        entry = self._world.collection(collection)
        held = self._held(entry)
        if held is not None and held.owner != owner:
            return None
        entry.fence = self._world.next_number()
        entry.lease = Lease(collection, owner, entry.fence)
        self._extend(entry)
        return entry.lease

    async def renew(self, lease: Lease) -> None:
        entry = self._world.collection(lease.collection)
        if self._held(entry) != lease:
            raise LeaseLost("The lease has expired or another supervisor holds it.")
        self._extend(entry)

    async def release(self, lease: Lease) -> None:
        entry = self._world.collection(lease.collection)
        if self._held(entry) == lease:
            entry.lease = None

    def _held(self, entry: CollectionEntry) -> Lease | None:
        return entry.lease if self._world.clock_s() < entry.lease_expires_at_s else None

    def _extend(self, entry: CollectionEntry) -> None:
        entry.lease_expires_at_s = self._world.clock_s() + self._world.lifetimes.lease_s
