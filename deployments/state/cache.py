"""Bytes on the cache Redis, which may evict what it likes: any failure is a miss, and counted."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from deployments.errors import StateUnavailable
from deployments.metrics import CACHE_LOOKUPS, UNCOUNTED, Metrics
from deployments.state.keys import Keys, milliseconds
from deployments.state.outage import Outage
from deployments.state.scripts import Script

CACHE_TIMEOUT_S = 0.5
"""A cache that takes longer to answer is no help."""
FLIGHT_POLL_S = 0.05
MAX_VALUE_BYTES = 1 << 20


@dataclass(slots=True)
class CacheCounts:
    """What has happened so far in this process."""

    hits: int = 0
    misses: int = 0
    failures: int = 0
    """Misses because Redis did not answer."""
    oversized: int = 0


@dataclass(slots=True)
class _Flight:
    """A key that a caller of this process is under way with, for all others here."""

    lease_ends_s: float
    landed: asyncio.Event = field(default_factory=asyncio.Event)
    value: bytes | None = None
    """Handed over from caller to caller, whatever becomes of it in Redis."""
    succeeded: bool = False


class RedisCache:
    """The Cache over Redis. `client` must answer bytes (`connect(..., decode=False)`)."""

    def __init__(
        self,
        client: Redis,
        keys: Keys | None = None,
        *,
        max_value_bytes: int = MAX_VALUE_BYTES,
        outage: Outage | None = None,
        metrics: Metrics = UNCOUNTED,
    ) -> None:
        self._metrics = metrics
        self._client = client
        self._keys = keys or Keys()
        self._max_value_bytes = max_value_bytes
        self._outage = outage or Outage()
        self._land = Script(client, "land", ("flight",))
        self._flights: dict[str, _Flight] = {}
        self.counts = CacheCounts()

    @property
    def out(self) -> bool:
        return self._outage.lasts

    async def get(self, key: str) -> bytes | None:
        result = "miss"
        try:
            value = await self._get(key)
        except StateUnavailable:
            self.counts.failures += 1
            value, result = None, "failed"
        if value is None:
            self.counts.misses += 1
        else:
            self.counts.hits += 1
            result = "hit"
        self._metrics.count(CACHE_LOOKUPS, result=result)
        return value

    async def set(self, key: str, value: bytes, ttl_s: float) -> bool:
        if flight := self._flights.get(key):
            flight.value = value
        if len(value) > self._max_value_bytes:
            self.counts.oversized += 1
            return False
        try:
            async with self._tight():
                await self._client.set(self._keys.cached(key), value, px=milliseconds(ttl_s))
        except StateUnavailable:
            self.counts.failures += 1
            return False
        return True

    @asynccontextmanager
    async def flight(
        self, key: str, *, lease_s: float, wait_s: float
    ) -> AsyncIterator[bytes | None]:
        now_s = asyncio.get_running_loop().time()
        value, alone = await self._wait_here(key, now_s + wait_s)
        if value is not None or alone:
            yield value
            return
        flight = self._flights[key] = _Flight(lease_ends_s=now_s + lease_s)
        token = secrets.token_hex(16)
        leading = True  # for all we know, where we are cancelled on board
        try:
            value, leading = await self._board(key, token, lease_s, now_s + wait_s)
            flight.value = value
            yield value
            flight.succeeded = True
        finally:
            if self._flights.get(key) is flight:
                del self._flights[key]
            flight.landed.set()
            if leading:
                await self._leave(key, token)

    async def _wait_here(self, key: str, deadline_s: float) -> tuple[bytes | None, bool]:
        """Wait for another caller in this process: one of them asks Redis for all.

        The value, or whether to go on alone: time is up, or the one that computed kept nothing
        (all others would wait for each other in vain). Else nobody here is under way just now.
        """
        while flight := self._flights.get(key):
            lease_ended = deadline_s >= flight.lease_ends_s
            try:
                async with asyncio.timeout_at(min(deadline_s, flight.lease_ends_s)):
                    await flight.landed.wait()
            except TimeoutError:
                return None, not lease_ended
            if flight.value is not None or flight.succeeded:
                return flight.value, True
        return None, False

    async def _board(
        self, key: str, token: str, lease_s: float, deadline_s: float
    ) -> tuple[bytes | None, bool]:
        """The value, or the lead, or (waited long enough, or Redis out) neither."""
        value = await self.get(key)
        if value is not None:
            return value, False
        try:
            while True:
                if await self._take_lead(key, token, lease_s):
                    # The last leader may have landed between our look and our lead.
                    return await self._get(key), True
                if asyncio.get_running_loop().time() >= deadline_s:
                    return None, False
                await asyncio.sleep(FLIGHT_POLL_S)
                value = await self._get(key)
                if value is not None:
                    return value, False
        except StateUnavailable:
            self.counts.failures += 1
            return None, False

    async def _take_lead(self, key: str, token: str, lease_s: float) -> bool:
        async with self._tight():
            return bool(
                await self._client.set(
                    self._keys.flight(key), token, nx=True, px=milliseconds(lease_s)
                )
            )

    async def _leave(self, key: str, token: str) -> None:
        try:
            async with self._tight():
                await self._land({"flight": self._keys.flight(key)}, token=token)
        except StateUnavailable:
            self.counts.failures += 1  # the lease runs out by itself

    async def _get(self, key: str) -> bytes | None:
        async with self._tight():
            value: Any = await self._client.get(self._keys.cached(key))
        return None if value is None else bytes(value)

    @asynccontextmanager
    async def _tight(self) -> AsyncIterator[None]:
        """Raise StateUnavailable for any failure, a slow answer and an outage that lasts."""
        async with self._outage.asking(CACHE_TIMEOUT_S):
            yield
