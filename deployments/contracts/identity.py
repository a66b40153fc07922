"""Who is calling, and what they may touch."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller whose identity was proven.

    `id` is stable and unique (limits, jobs and caches hang on it); `collections` are shell-style
    patterns such as "*", "handbook" or "team_*".
    """

    id: str
    name: str
    scopes: frozenset[str]
    collections: tuple[str, ...]

    def may_read(self, collection: str) -> bool:
        """Whether a pattern covers the collection; case matters."""
        return any(fnmatchcase(collection, pattern) for pattern in self.collections)
