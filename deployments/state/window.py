"""The arithmetic of a sliding window made of two counters."""

from __future__ import annotations

import math
from dataclasses import dataclass

from deployments.contracts.limits import LimitVerdict, RateLimit


@dataclass(frozen=True, slots=True)
class Window:
    """What was asked in the last full window and in the current one.

    `previous_left_s`: until the last one counts for nothing; `current_left_s`: until the current
    one becomes the last.
    """

    limit: RateLimit
    previous: int
    previous_left_s: float
    current: int
    current_left_s: float

    @property
    def used(self) -> int:
        """What counts now: the last window weighted by how much of it still lies in a period."""
        return math.floor(self.previous * self.previous_left_s / self.limit.period_s) + self.current

    def admits(self, cost: int) -> bool:
        """Whether `cost` more may be taken now."""
        return self.used + cost <= self.limit.amount

    def verdict(self, allowed: bool, cost: int) -> LimitVerdict:
        """What to tell the caller, the hit being counted already if it was allowed."""
        return LimitVerdict(
            allowed=allowed,
            limit=self.limit.amount,
            remaining=max(0, self.limit.amount - self.used),
            reset_after_s=self._until_empty_s() if allowed else self._until_admitted_s(cost),
            period_s=self.limit.period_s,
        )

    def _until_empty_s(self) -> float:
        if self.current:
            return self.current_left_s + self.limit.period_s
        return self.previous_left_s if self.previous else 0.0

    def _until_admitted_s(self, cost: int) -> float:
        room = self.limit.amount - cost
        if room < 0:
            return 0.0
        if self.current <= room:
            # Enough of the last window must fall out: its weight goes down with time.
            return max(
                0.0, self.previous_left_s - self._weight_s(room - self.current, self.previous)
            )
        return self.current_left_s + self.limit.period_s - self._weight_s(room, self.current)

    def _weight_s(self, room: int, count: int) -> float:
        """How long before its end a window of `count` counts for `room` at most.

        Counts are rounded down, hence just under room + 1.
        """
        if count <= room:
            return self.limit.period_s
        return self.limit.period_s * min(1.0, (room + 1 - 1e-6) / count)
