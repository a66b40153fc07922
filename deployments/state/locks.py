"""One writer a collection: a lease with an owner, an end and a fence."""

from __future__ import annotations

from redis.asyncio import Redis

from deployments.contracts.jobs import Lease
from deployments.errors import LeaseLost
from deployments.state.keys import Keys, Lifetimes, milliseconds
from deployments.state.scripts import Script


class RedisCollectionLock:
    """Leases of `lifetimes.lease_s`; renew them well before."""

    def __init__(
        self, client: Redis, keys: Keys | None = None, lifetimes: Lifetimes | None = None
    ) -> None:
        self._keys = keys or Keys()
        self._lease_ms = milliseconds((lifetimes or Lifetimes()).lease_s)
        self._acquire = Script(client, "acquire", ("lock", "fence", "sequence"))
        self._renew = Script(client, "renew", ("lock",))
        self._release = Script(client, "release", ("lock",))

    async def acquire(self, collection: str, owner: str) -> Lease | None:
        keys = {
            "lock": self._keys.lock(collection),
            "fence": self._keys.fence(collection),
            "sequence": self._keys.sequence,
        }
        fence = await self._acquire(keys, owner=owner, lease_ms=self._lease_ms)
        return None if fence is None else Lease(collection, owner, int(fence))

    async def renew(self, lease: Lease) -> None:
        kept = await self._renew(
            {"lock": self._keys.lock(lease.collection)},
            owner=lease.owner,
            fence=str(lease.fence),
            lease_ms=self._lease_ms,
        )
        if not kept:
            raise LeaseLost("The lease has expired or another supervisor holds it.")

    async def release(self, lease: Lease) -> None:
        await self._release(
            {"lock": self._keys.lock(lease.collection)}, owner=lease.owner, fence=str(lease.fence)
        )
