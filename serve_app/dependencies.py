"""The services this one depends on: which of them answer, and how fast."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from deployments.errors import RagserveError

PING_TIMEOUT_S = 2.0
REMEMBERED_S = 1.0


@dataclass(frozen=True, slots=True)
class Dependency:
    """One service's answer to a ping."""

    name: str
    up: bool
    latency_ms: float | None
    detail: str = ""


class Dependencies:
    """Asks every service, at most once a second however many strangers ask."""

    def __init__(self, pings: Mapping[str, Callable[[], Awaitable[object]]]) -> None:
        self._pings = pings
        self._lock = asyncio.Lock()
        self._known: list[Dependency] = []
        self._known_at = float("-inf")

    async def check(self) -> list[Dependency]:
        """The state of every service, asked side by side."""
        async with self._lock:
            if time.monotonic() - self._known_at > REMEMBERED_S:
                self._known = await asyncio.gather(
                    *(_probe(name, ping) for name, ping in self._pings.items())
                )
                self._known_at = time.monotonic()
            return self._known


async def _probe(name: str, ping: Callable[[], Awaitable[object]]) -> Dependency:
    started = time.perf_counter()
    try:
        async with asyncio.timeout(PING_TIMEOUT_S):
            await ping()
    except TimeoutError:
        return Dependency(name, up=False, latency_ms=None, detail="no answer in time")
    except RagserveError as error:
        return Dependency(name, up=False, latency_ms=None, detail=error.message)
    return Dependency(name, up=True, latency_ms=round((time.perf_counter() - started) * 1000, 2))
