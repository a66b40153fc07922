"""Spare callers the wait for a Redis that has just failed to answer."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext

from deployments.errors import StateUnavailable
from deployments.resilience.breakers import Breaker
from deployments.state.connection import answering


class Outage:
    """Remembers a failure for `cooldown_s`, and tells the breaker, where there is one.

    Without it a Redis that hangs would cost every query one timeout for each thing it looks up.
    A restart is over before the breaker opens: it takes many failures, this takes one.
    """

    def __init__(
        self,
        cooldown_s: float = 1.0,
        clock_s: Callable[[], float] = time.monotonic,
        breaker: Breaker | None = None,
    ) -> None:
        self._cooldown_s = cooldown_s
        self._clock_s = clock_s
        self._breaker = breaker
        self._until_s = 0.0

    @property
    def lasts(self) -> bool:
        """Whether to do without Redis just now."""
        refused = self._breaker is not None and self._breaker.refuses
        return refused or self._clock_s() < self._until_s

    @asynccontextmanager
    async def asking(self, timeout_s: float) -> AsyncIterator[None]:
        """Ask Redis inside the block, which gets `timeout_s`.

        Raises:
            StateUnavailable: it did not answer, or (at once) has just failed.
        """
        if self._clock_s() < self._until_s:
            raise StateUnavailable("The state store has just failed.")
        with self._breaker.calling() if self._breaker else nullcontext():
            try:
                async with answering(timeout_s):
                    yield
            except StateUnavailable:
                self._until_s = self._clock_s() + self._cooldown_s
                raise
