"""Spare callers the wait for a Redis that has just failed to answer."""

from __future__ import annotations

import time
from collections.abc import Callable


class Outage:
    """Remembers a failure for `cooldown_s`.

    Without it a Redis that hangs would cost every query one timeout for each thing it looks up.
    """

    def __init__(
        self, cooldown_s: float = 1.0, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._cooldown_s = cooldown_s
        self._clock_s = clock_s
        self._until_s = 0.0

    @property
    def lasts(self) -> bool:
        """Whether to do without Redis just now."""
        return self._clock_s() < self._until_s

    def begin(self) -> None:
        """Redis has failed."""
        self._until_s = self._clock_s() + self._cooldown_s
