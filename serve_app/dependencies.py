"""The services this one depends on: which of them answer, and how fast."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from deployments.errors import Overloaded, RagserveError
from deployments.resilience.breakers import Breaker, BreakerState

PING_TIMEOUT_S = 2.0
REMEMBERED_S = 1.0

Ping: TypeAlias = Callable[[], Awaitable[object]]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Dependency:
    """One service's answer to a ping. Strangers see it: `detail` is a code, not a message.

    Where its breaker is open it is not asked for anything but pings, though it may answer those.
    """

    name: str
    up: bool
    latency_ms: float | None
    detail: str = ""
    breaker: BreakerState = "closed"


class Dependencies:
    """Asks every service, at most once a second however many strangers ask."""

    def __init__(
        self,
        pings: Mapping[str, Ping],
        clock_s: Callable[[], float] = time.monotonic,
        breakers: Mapping[str, Breaker] | None = None,
    ) -> None:
        self._breakers = breakers or {}
        self._pings = pings
        self._clock_s = clock_s
        self._round: asyncio.Task[list[Dependency]] | None = None
        self._ended_s = 0.0

    async def check(self) -> list[Dependency]:
        """The state of every service, asked side by side, and of its breaker now."""
        if self._round is None or self._over(self._round):
            self._round = asyncio.create_task(self._ask())
        # Shielded: a stranger who hangs up must not make the next one ask again.
        answers = await asyncio.shield(self._round)
        return [
            replace(answer, breaker=breaker.state)
            if (breaker := self._breakers.get(answer.name))
            else answer
            for answer in answers
        ]

    def _over(self, asked: asyncio.Task[list[Dependency]]) -> bool:
        return asked.done() and self._clock_s() - self._ended_s > REMEMBERED_S

    async def _ask(self) -> list[Dependency]:
        try:
            return await asyncio.gather(*(_probe(name, ping) for name, ping in self._pings.items()))
        finally:
            self._ended_s = self._clock_s()


async def _probe(name: str, ping: Ping) -> Dependency:
    started = time.perf_counter()
    try:
        async with asyncio.timeout(PING_TIMEOUT_S):
            await ping()
    except Overloaded as error:
        return Dependency(name, up=True, latency_ms=_since_ms(started), detail=error.code)
    except TimeoutError:
        return Dependency(name, up=False, latency_ms=None, detail="no_answer_in_time")
    except RagserveError as error:
        logger.warning("%s is down: %s", name, error.message)
        return Dependency(name, up=False, latency_ms=None, detail=error.code)
    except Exception:
        logger.exception("asking %s failed", name)
        return Dependency(name, up=False, latency_ms=None, detail=RagserveError.code)
    return Dependency(name, up=True, latency_ms=_since_ms(started))


def _since_ms(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 2)
