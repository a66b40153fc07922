"""Values that may be forgotten at any time."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol


class Cache(Protocol):
    """Best effort: a cache that fails is a cache that misses. No method raises for Redis."""

    async def get(self, key: str) -> bytes | None:
        """The value, or None."""
        ...

    async def set(self, key: str, value: bytes, ttl_s: float) -> bool:
        """Keep the value for `ttl_s`. False where it was not kept (too large, or Redis out)."""
        ...

    def flight(
        self, key: str, *, lease_s: float, wait_s: float
    ) -> AbstractAsyncContextManager[bytes | None]:
        """One computes, the others wait: enter with the value, or with None to compute it.

        At most one caller of all replicas enters with None, and should `set` the value before it
        leaves; the others wait up to `wait_s` for it, then enter with None too. A leader that is
        silent for `lease_s` is given up on.
        """
        ...
