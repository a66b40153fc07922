"""How long a caller is willing to wait: set at the door, carried through every stage."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from deployments.errors import DeadlineExceeded

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point on a monotonic clock after which nobody reads the answer."""

    started_s: float
    expires_s: float
    clock: Clock = time.monotonic

    @classmethod
    def after(cls, seconds: float, clock: Clock = time.monotonic) -> Deadline:
        """A deadline `seconds` from now."""
        now_s = clock()
        return cls(now_s, now_s + seconds, clock)

    def remaining_s(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.expires_s - self.clock())

    def elapsed_s(self) -> float:
        """Seconds since the request came through the door."""
        return self.clock() - self.started_s

    def exceeded(self, stage: str) -> DeadlineExceeded:
        """The error of a stage that found no time left."""
        limit_s = round(self.expires_s - self.started_s, 3)
        return DeadlineExceeded(
            f"The deadline of {limit_s:g} s passed during {stage}.", stage=stage
        )

    @asynccontextmanager
    async def within(self, stage: str) -> AsyncIterator[None]:
        """Give the block what is left, and no more.

        Raises:
            DeadlineExceeded: naming the stage; also at once where nothing is left.
        """
        remaining_s = self.remaining_s()
        if remaining_s <= 0:
            raise self.exceeded(stage)
        limit = asyncio.timeout(remaining_s)
        try:
            async with limit:
                yield
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise self.exceeded(stage) from error
