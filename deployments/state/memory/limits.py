"""Rate limits counted by one process for itself."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from deployments.contracts.limits import LimitVerdict, RateLimit
from deployments.errors import ConfigurationError
from deployments.state.window import Window

_MOST_COUNTED = 100_000


@dataclass(slots=True)
class _Counters:
    """Of one caller; `started_s` is when the current window began."""

    started_s: float
    current: int = 0
    previous: int = 0


class MemoryRateLimiter:
    """The RateLimiter of tests, and of production while Redis is out."""

    def __init__(
        self, limits: Mapping[str, RateLimit], clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = dict(limits)
        self._clock_s = clock_s
        self._counters: OrderedDict[tuple[str, str], _Counters] = OrderedDict()

    async def hit(self, bucket: str, key: str, cost: int = 1) -> LimitVerdict:
        limit = self._limits.get(bucket)
        if limit is None:
            raise ConfigurationError(f"No rate limit is configured for {bucket!r}.")
        now_s = self._clock_s()
        counters = self._counters_of((bucket, key), now_s)
        _roll(counters, limit.period_s, now_s)
        allowed = _window(counters, limit, now_s).admits(cost)
        if allowed:
            counters.current += cost
        return _window(counters, limit, now_s).verdict(allowed, cost)

    def _counters_of(self, name: tuple[str, str], now_s: float) -> _Counters:
        counters = self._counters.setdefault(name, _Counters(started_s=now_s))
        self._counters.move_to_end(name)
        if len(self._counters) > _MOST_COUNTED:
            self._counters.popitem(last=False)
        return counters


def _roll(counters: _Counters, period_s: float, now_s: float) -> None:
    """Let full windows become the last one, and the ones before it nothing."""
    full = int((now_s - counters.started_s) // period_s)
    if full:
        counters.previous = counters.current if full == 1 else 0
        counters.current = 0
        counters.started_s += full * period_s


def _window(counters: _Counters, limit: RateLimit, now_s: float) -> Window:
    left_s = counters.started_s + limit.period_s - now_s
    return Window(limit, counters.previous, left_s, counters.current, left_s)
