"""Who is calling: a bearer token in, a principal out."""

from __future__ import annotations

from typing import Protocol

from deployments.contracts.identity import Principal
from deployments.errors import Unauthenticated


class KeyVerifier(Protocol):
    """Knows the API keys."""

    async def verify(self, key: str) -> Principal:
        """The key's principal. Raises Unauthenticated."""
        ...


class Authenticator:
    """Turns the credentials of a request into a principal."""

    def __init__(self, keys: KeyVerifier) -> None:
        self._keys = keys

    async def authenticate(self, authorization: str | None) -> Principal:
        """The principal behind an `Authorization` header.

        Raises:
            Unauthenticated: no credentials, or none that we know.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("Send an API key: 'Authorization: Bearer <key>'.")
        return await self._keys.verify(token.strip())
