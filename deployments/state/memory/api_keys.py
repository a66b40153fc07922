"""API keys in a dictionary, for tests."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from deployments.contracts.identity import ApiKey, Principal
from deployments.errors import NotFound, Unauthenticated
from deployments.state.api_keys import new_key, prefix_of


class MemoryKeyStore:
    """The KeyStore of tests: keys are as good as they look, and end at once."""

    def __init__(self, clock_s: Callable[[], float] = time.time) -> None:
        self._clock_s = clock_s
        self._keys: dict[str, tuple[str, ApiKey]] = {}

    async def create(
        self,
        name: str,
        scopes: Sequence[str],
        collections: Sequence[str],
        expires_in_s: float | None = None,
        writable: Sequence[str] | None = None,
    ) -> tuple[str, ApiKey]:
        key, text = new_key(name, scopes, collections, expires_in_s, writable, self._clock_s())
        self._keys[key.prefix] = (text, key)
        return text, key

    async def list(self) -> list[ApiKey]:
        return [key for _, key in reversed(self._keys.values())]

    async def get(self, prefix: str) -> ApiKey:
        return self._find(prefix)[1]

    async def revoke(self, prefix: str) -> None:
        self._find(prefix)
        del self._keys[prefix]

    async def rotate(self, prefix: str, overlap_s: float = 0.0) -> tuple[str, ApiKey]:
        text, old = self._find(prefix)
        lifetime_s = old.expires_at_s - old.created_at_s if old.expires_at_s else None
        made = await self.create(
            old.name, sorted(old.scopes), old.collections, lifetime_s, old.writable
        )
        ends_at_s = self._clock_s() + overlap_s
        if overlap_s <= 0:
            del self._keys[prefix]
        elif not old.expires_at_s or ends_at_s < old.expires_at_s:
            self._keys[prefix] = (text, replace(old, expires_at_s=ends_at_s))
        return made

    async def verify(self, text: str) -> Principal:
        known, key = self._keys.get(prefix_of(text), ("", None))
        if key is None or not hmac.compare_digest(known, text):
            raise Unauthenticated("The API key is not valid.")
        now_s = self._clock_s()
        if key.expired(now_s):
            raise Unauthenticated("The API key has expired.")
        self._keys[key.prefix] = (text, replace(key, last_used_at_s=now_s))
        return key.principal

    def _find(self, prefix: str) -> tuple[str, ApiKey]:
        if prefix not in self._keys:
            raise NotFound("No such API key.")
        return self._keys[prefix]
