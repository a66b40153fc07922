"""Which versions searches may see, kept in Redis and remembered here for when it is out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis

from deployments.contracts.jobs import Snapshot
from deployments.errors import StateUnavailable
from deployments.state.connection import answering
from deployments.state.keys import Keys, Lifetimes, hiding_lifetimes
from deployments.state.outage import Outage
from deployments.state.scripts import Script

SNAPSHOT_TIMEOUT_S = 0.5
"""A search would rather use what was true a moment ago than wait for longer."""
_MOST_REMEMBERED = 1024
_MOST_DUE = 1000


class RedisVisibility:
    """Hidden versions, the epochs of collections, and the sweep's agenda."""

    def __init__(
        self,
        client: Redis,
        keys: Keys | None = None,
        lifetimes: Lifetimes | None = None,
        outage: Outage | None = None,
    ) -> None:
        self._client = client
        self._keys = keys or Keys()
        self._hiding = hiding_lifetimes(lifetimes or Lifetimes())
        self._outage = outage or Outage()
        self._remembered: OrderedDict[str, Snapshot] = OrderedDict()
        self._hide = Script(client, "hide", ("sequence", "epoch", "hidden", "sweep", "tombstones"))
        self._swept = Script(client, "swept", ("hidden", "sweep", "tombstones"))
        self._forget = Script(client, "forget", ("sequence", "epoch", "fence", "lock", "dropped"))

    async def snapshot(self, collection: str) -> Snapshot:
        with suppress(StateUnavailable):
            return self._remember(collection, await self._read(collection))
        last = self._remembered.get(collection, Snapshot(epoch=0, hidden_versions=frozenset()))
        return replace(last, stale=True)

    async def _read(self, collection: str) -> Snapshot:
        async with (
            self._outage.asking(SNAPSHOT_TIMEOUT_S),
            self._client.pipeline(transaction=True) as pipe,
        ):
            pipe.get(self._keys.epoch(collection))
            pipe.smembers(self._keys.hidden(collection))
            epoch, hidden = await pipe.execute()
        return Snapshot(int(epoch or 0), frozenset(int(version) for version in hidden))

    def _remember(self, collection: str, snapshot: Snapshot) -> Snapshot:
        self._remembered[collection] = snapshot
        self._remembered.move_to_end(collection)
        if len(self._remembered) > _MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        return snapshot

    async def hide(self, collection: str, versions: Sequence[int]) -> None:
        await self._hide(
            self._places(collection),
            **self._hiding,
            collection=collection,
            versions=[str(version) for version in versions],
        )

    async def due(self, now_s: float) -> list[tuple[str, int]]:
        async with answering():
            members: Any = await self._client.zrangebyscore(
                self._keys.sweep, "-inf", round(now_s * 1000), start=0, num=_MOST_DUE
            )
        found = [member.rpartition(":") for member in members]
        return [(collection, int(version)) for collection, _, version in found]

    async def swept(self, collection: str, version: int) -> None:
        await self._swept(self._places(collection), collection=collection, version=str(version))

    async def forget(self, collection: str) -> None:
        await self._forget(self._places(collection), collection=collection)
        self._remembered.pop(collection, None)

    def _places(self, collection: str) -> dict[str, str]:
        return {
            "sequence": self._keys.sequence,
            "epoch": self._keys.epoch(collection),
            "hidden": self._keys.hidden(collection),
            "sweep": self._keys.sweep,
            "tombstones": self._keys.tombstones,
            "fence": self._keys.fence(collection),
            "lock": self._keys.lock(collection),
            "dropped": self._keys.dropped(collection),
        }
