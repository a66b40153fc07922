"""The twin of RedisCache."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from deployments.state.cache import FLIGHT_POLL_S, MAX_VALUE_BYTES, CacheCounts


class MemoryCache:
    """Bytes in one process."""

    def __init__(
        self,
        clock_s: Callable[[], float] = time.monotonic,
        *,
        max_value_bytes: int = MAX_VALUE_BYTES,
    ) -> None:
        self._clock_s = clock_s
        self._max_value_bytes = max_value_bytes
        self._values: dict[str, tuple[bytes, float]] = {}
        self._flights: dict[str, tuple[object, float]] = {}
        self.counts = CacheCounts()
        self.out = False

    async def get(self, key: str) -> bytes | None:
        value = self._live(key)
        if value is None:
            self.counts.misses += 1
        else:
            self.counts.hits += 1
        return value

    async def set(self, key: str, value: bytes, ttl_s: float) -> bool:
        if len(value) > self._max_value_bytes:
            self.counts.oversized += 1
            return False
        self._values[key] = (value, self._clock_s() + ttl_s)
        return True

    @asynccontextmanager
    async def flight(
        self, key: str, *, lease_s: float, wait_s: float
    ) -> AsyncIterator[bytes | None]:
        leader = object()
        deadline_s = self._clock_s() + wait_s
        value = await self.get(key)
        while value is None and not self._take_lead(key, leader, lease_s):
            if self._clock_s() >= deadline_s:
                break
            await asyncio.sleep(FLIGHT_POLL_S)
            value = self._live(key)
        try:
            yield value
        finally:
            if self._flights.get(key, (None, 0.0))[0] is leader:
                del self._flights[key]

    def _take_lead(self, key: str, leader: object, lease_s: float) -> bool:
        now_s = self._clock_s()
        if key in self._flights and self._flights[key][1] > now_s:
            return False
        self._flights[key] = (leader, now_s + lease_s)
        return True

    def _live(self, key: str) -> bytes | None:
        value, expires_at_s = self._values.get(key, (None, 0.0))
        return value if self._clock_s() < expires_at_s else None
