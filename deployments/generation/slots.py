"""How many requests an engine works on at once, how many may wait, and what the rest is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from deployments.contracts.generation import Token
from deployments.errors import DeadlineExceeded, Overloaded
from deployments.generation.watching import Patience, watched

_SMOOTHING = 0.2
"""Weight of the newest request in the running mean of how long a slot is held."""


class Slots:
    """`parallel` requests at work and at most `max_queued` waiting, first come first served.

    Without the bound a burst becomes a queue that nobody in it will see the end of.
    """

    def __init__(self, parallel: int, max_queued: int) -> None:
        self._parallel = parallel
        self._max_queued = max_queued
        self._free = asyncio.Semaphore(parallel)
        self._waiting = 0
        self._mean_held_s = 1.0

    @property
    def waiting(self) -> int:
        """Requests in the queue now."""
        return self._waiting

    def expected_wait_s(self) -> float:
        """When a request that came now would begin, by how long slots were held lately."""
        return self._mean_held_s * (self._waiting + 1) / self._parallel

    @asynccontextmanager
    async def hold(self, deadline: float) -> AsyncIterator[None]:
        """Hold a slot inside the block; `deadline` is on the loop's clock.

        Raises:
            Overloaded: the queue is full; carries `retry_after_s`.
            DeadlineExceeded: no slot came free in time.
        """
        if self._free.locked() and self._waiting >= self._max_queued:
            retry_after_s = round(max(1.0, self.expected_wait_s()), 1)
            raise Overloaded("the model's queue is full", retry_after_s=retry_after_s)
        self._waiting += 1
        try:
            async with asyncio.timeout_at(deadline):
                await self._free.acquire()
        except TimeoutError:
            raise DeadlineExceeded("the model's queue was too slow for this deadline") from None
        finally:
            self._waiting -= 1
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            yield
        finally:
            self._free.release()
            self._mean_held_s += _SMOOTHING * (loop.time() - began - self._mean_held_s)

    async def admit(
        self,
        tokens: AsyncGenerator[Token, None],
        *,
        timeout_s: float,
        engine: str,
        patience: Patience,
    ) -> AsyncGenerator[Token, None]:
        """Run `tokens`, which has not begun, in a slot and watched; waiting counts as time."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        async with self.hold(deadline):
            watch = watched(tokens, deadline=deadline, patience=patience, engine=engine)
            async with aclosing(watch):
                async for token in watch:
                    yield token
