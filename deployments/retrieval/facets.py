"""A document's metadata, spread out so that a filter can be answered.

Metadata is JSON of mixed types: one document's `year` is 2024, another's "2024". Vector databases
differ in what comparing those means, and in what `not` makes of a missing key. So each value is
kept under a key that names its type as well; a comparison then only ever meets values of its own
type, and "missing" and "of another type" are the same thing everywhere:

    year: 2024          -> n:year = 2024
    lang: "en"          -> s:lang = "en"
    draft: true         -> b:draft = true
    tags: ["a", 1]      -> l:tags = true, m:tags:<digest of "a"> = true, m:tags:<digest of 1> = true
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from hashlib import blake2b

from deployments.contracts.retrieval import Metadata, Scalar
from deployments.retrieval.filters import MAX_EXACT_INTEGER, METADATA_KEY

TYPES = "nsbl"
"""First letters of the keys that say what a metadata key holds: number, text, bool, list."""


def facets(metadata: Metadata) -> dict[str, Scalar]:
    """The filterable part of `metadata`: keys and numbers no filter can name are left out."""
    spread: dict[str, Scalar] = {}
    for key, value in metadata.items():
        if METADATA_KEY.fullmatch(key) is None:
            continue
        if isinstance(value, list):
            spread[f"l:{key}"] = True
            spread.update({member_key(key, member): True for member in value if _usable(member)})
        elif _usable(value):
            spread[value_key(key, value)] = value
    return spread


def value_key(key: str, value: Scalar) -> str:
    """Where a single value of this type is kept."""
    return f"{_type_letter(value)}:{key}"


def member_key(key: str, member: Scalar) -> str:
    """Where a list's having this member is kept. 1 and 1.0 are the same member, 1 and true not."""
    letter = _type_letter(member)
    written = repr(float(member)) if letter == "n" else str(member)
    digest = blake2b(f"{letter}:{written}".encode("utf-8", "replace"), digest_size=12).hexdigest()
    return f"m:{key}:{digest}"


def held(spread: Mapping[str, Scalar], key: str) -> bool:
    """Whether the metadata had `key` at all."""
    return any(f"{letter}:{key}" in spread for letter in TYPES)


def _type_letter(value: Scalar) -> str:
    if isinstance(value, bool):
        return "b"
    return "s" if isinstance(value, str) else "n"


def _usable(value: object) -> bool:
    if isinstance(value, int):
        return abs(value) <= MAX_EXACT_INTEGER
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str)
