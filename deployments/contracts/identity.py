"""Who is calling, and what they may touch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller whose identity was proven.

    `id` is stable and unique (limits, jobs and caches hang on it); `collections` are shell-style
    patterns such as "*", "handbook" or "team_*" of what may be read, and `writable` of what may
    be written: None for the same.
    """

    id: str
    name: str
    scopes: frozenset[str]
    collections: tuple[str, ...]
    writable: tuple[str, ...] | None = None

    def may_read(self, collection: str) -> bool:
        """Whether a pattern covers the collection; case matters."""
        return _covered(collection, self.collections)

    def may_write(self, collection: str) -> bool:
        """The same for what is written."""
        return _covered(collection, self.write_patterns)

    @property
    def write_patterns(self) -> tuple[str, ...]:
        return self.collections if self.writable is None else self.writable

    def may_grant(self, reads: Iterable[str], writes: Iterable[str]) -> bool:
        """Whether all that these patterns cover is within the caller's own.

        A pattern whose only wildcard is "*" lies within another exactly where its text matches it.
        """
        return all(_covered(pattern, self.collections) for pattern in reads) and all(
            _covered(pattern, self.write_patterns) for pattern in writes
        )


def _covered(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key. Times are Unix seconds, 0.0 where never."""

    prefix: str
    name: str
    scopes: frozenset[str]
    collections: tuple[str, ...]
    created_at_s: float
    expires_at_s: float = 0.0
    last_used_at_s: float = 0.0
    writable: tuple[str, ...] | None = None

    def expired(self, now_s: float) -> bool:
        return 0.0 < self.expires_at_s <= now_s

    @property
    def principal(self) -> Principal:
        return Principal(
            f"key:{self.prefix}", self.name, self.scopes, self.collections, self.writable
        )


class KeyStore(Protocol):
    """Makes, lists, ends and verifies API keys. Every method raises StateUnavailable."""

    async def create(
        self,
        name: str,
        scopes: Sequence[str],
        collections: Sequence[str],
        expires_in_s: float | None = None,
        writable: Sequence[str] | None = None,
    ) -> tuple[str, ApiKey]:
        """Make a key; its text is returned here and nowhere else again."""
        ...

    async def list(self) -> list[ApiKey]:
        """Every key, expired ones too, newest first."""
        ...

    async def get(self, prefix: str) -> ApiKey:
        """Raises NotFound."""
        ...

    async def revoke(self, prefix: str) -> None:
        """End a key: here at once, on other replicas soon. Raises NotFound."""
        ...

    async def rotate(self, prefix: str, overlap_s: float = 0.0) -> tuple[str, ApiKey]:
        """Make a key with the same rights and let the old one live for `overlap_s` more.

        A key with an end gets the same length of life again. Raises NotFound.
        """
        ...

    async def verify(self, text: str) -> Principal:
        """Whose key this is. Raises Unauthenticated."""
        ...
