"""Rate limits shared by all replicas; with Redis out, each process counts for itself.

Both count by a sliding window made of two counters: what was asked in the last full window,
weighted by how much of it still lies within one period, plus what was asked in the current one.
"""

from __future__ import annotations

from collections.abc import Mapping

from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from redis.asyncio import Redis

from deployments.contracts.limits import LimitVerdict, RateLimit
from deployments.errors import ConfigurationError, StateUnavailable
from deployments.metrics import DEGRADED, UNCOUNTED, Metrics
from deployments.state.keys import Keys
from deployments.state.memory.limits import MemoryRateLimiter
from deployments.state.outage import Outage
from deployments.state.window import Window

LIMIT_TIMEOUT_S = 0.5
"""A request waits no longer to be counted by all; then its own process counts it."""


class RedisRateLimiter:
    """The RateLimiter over the `limits` package's Redis storage."""

    def __init__(
        self,
        client: Redis,
        limits: Mapping[str, RateLimit],
        keys: Keys | None = None,
        outage: Outage | None = None,
        metrics: Metrics = UNCOUNTED,
    ) -> None:
        self._metrics = metrics
        self._limits = dict(limits)
        self._fallback = MemoryRateLimiter(limits)
        self._outage = outage or Outage()
        # The URI names the scheme only: connections come from our own pool.
        self._storage = RedisStorage(
            "async+redis://",
            implementation="redispy",
            key_prefix=(keys or Keys()).limits,
            connection_pool=client.connection_pool,  # type: ignore[arg-type]
        )

    async def hit(self, bucket: str, key: str, cost: int = 1) -> LimitVerdict:
        limit = self._limits.get(bucket)
        if limit is None:
            raise ConfigurationError(f"No rate limit is configured for {bucket!r}.")
        try:
            async with self._outage.asking(LIMIT_TIMEOUT_S):
                return await self._hit(bucket, limit, key, cost)
        except StateUnavailable:
            self._metrics.count(DEGRADED, rung="local_limits")
            return await self._fallback.hit(bucket, key, cost)

    async def _hit(self, bucket: str, limit: RateLimit, key: str, cost: int) -> LimitVerdict:
        item = RateLimitItemPerSecond(limit.amount, limit.period_s, namespace=bucket)
        name = item.key_for(key)
        allowed = await self._storage.acquire_sliding_window_entry(
            name, limit.amount, limit.period_s, cost
        )
        previous, previous_ttl_s, current, current_ttl_s = await self._storage.get_sliding_window(
            name, limit.period_s
        )
        window = Window(
            limit, previous, previous_ttl_s, current, max(0.0, current_ttl_s - limit.period_s)
        )
        return window.verdict(allowed, cost)
