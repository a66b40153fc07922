"""What a credential may say: scopes, and patterns of collections."""

from __future__ import annotations

import re
from typing import Final

SCOPES: Final = ("query", "ingest", "admin")
PATTERN: Final = r"^[a-z0-9_*]{1,64}$"
"""A collection's name with "*" for any characters. No other wildcard: that a pattern lies within
another can then be told from their texts (`Principal.may_grant`)."""
MOST_PATTERNS: Final = 64
_PATTERN = re.compile(PATTERN)


def is_pattern(text: object) -> bool:
    """Whether this can be a pattern of collections."""
    return isinstance(text, str) and _PATTERN.fullmatch(text) is not None
