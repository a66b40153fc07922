"""How much a caller may ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `amount` in any `period_s` seconds."""

    amount: int
    period_s: int


@dataclass(frozen=True, slots=True)
class LimitVerdict:
    """What became of a hit.

    `remaining` is what is left just now. `reset_after_s` is, for a refused hit, when the same hit
    would be let through if nothing else is asked meanwhile (0.0 if it never will: it costs more
    than the limit); for an allowed one, when the whole limit is there again.
    """

    allowed: bool
    limit: int
    remaining: int
    reset_after_s: float
    period_s: int = 60


class RateLimiter(Protocol):
    """Counts what callers ask for."""

    async def hit(self, bucket: str, key: str, cost: int = 1) -> LimitVerdict:
        """Take `cost` from `key`'s share of `bucket`; a refused hit takes nothing.

        Never raises for Redis: with Redis out each process counts for itself. A bucket that was
        not configured raises ConfigurationError.
        """
        ...
