"""Claims of a verified token, as a principal. What is missing is not granted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deployments.contracts.identity import Principal
from deployments.errors import Unauthenticated
from serve_app.auth.patterns import MOST_PATTERNS, SCOPES, is_pattern

LONGEST_SUBJECT_CHARS = 200


@dataclass(frozen=True, slots=True)
class ClaimNames:
    """Where an issuer puts what we need."""

    scopes: str = "scope"
    collections: str = "collections"
    writable: str = "collections_write"


def subject_of(claims: Mapping[str, Any]) -> str:
    """Whom the token is about. Raises Unauthenticated."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_SUBJECT_CHARS:
        raise Unauthenticated("The token names nobody.")
    if not subject.isprintable():
        raise Unauthenticated("The token's subject is not usable.")
    return subject


def principal_of(claims: Mapping[str, Any], names: ClaimNames, identity: str) -> Principal:
    """The principal `identity` with the rights that the claims give.

    Lists may be JSON arrays or one string of words, as OAuth's `scope` is. Scopes that are not
    ours are another service's business; a pattern that cannot be one spoils the token.

    Raises:
        Unauthenticated: claims that cannot be read.
    """
    writable = claims.get(names.writable)
    return Principal(
        id=identity,
        name=_name(claims),
        scopes=frozenset(_words(claims.get(names.scopes))) & frozenset(SCOPES),
        collections=_patterns(claims.get(names.collections)),
        writable=None if writable is None else _patterns(writable),
    )


def _name(claims: Mapping[str, Any]) -> str:
    name = claims.get("name")
    usable = isinstance(name, str) and 0 < len(name) <= LONGEST_SUBJECT_CHARS
    return str(name) if usable else subject_of(claims)


def _words(value: object) -> Sequence[str]:
    if value is None:
        return ()
    if isinstance(value, str):
        return value.split()
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    raise Unauthenticated("The token's claims cannot be read.")


def _patterns(value: object) -> tuple[str, ...]:
    patterns = tuple(_words(value))
    if len(patterns) > MOST_PATTERNS or not all(map(is_pattern, patterns)):
        raise Unauthenticated("The token's claims cannot be read.")
    return patterns
