"""Who is calling: a bearer token in, a principal out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from deployments.contracts.identity import Principal
from deployments.errors import Unauthenticated
from serve_app.auth.peers import CALLER_HEADER, PEER_HEADER, Peers
from serve_app.auth.tokens import TokenVerifier

INTERNAL = "/internal/"


class KeyVerifier(Protocol):
    """Knows the API keys."""

    async def verify(self, key: str) -> Principal:
        """The key's principal. Raises Unauthenticated."""
        ...


class Authenticator:
    """Turns the credentials of a request into a principal."""

    def __init__(
        self, keys: KeyVerifier, tokens: TokenVerifier | None = None, peers: Peers | None = None
    ) -> None:
        self._keys = keys
        self._tokens = tokens
        self._peers = peers or Peers(())

    async def authenticate(self, path: str, headers: Mapping[str, str]) -> Principal:
        """The principal behind a request's headers.

        Paths below `/internal/` are for services and their secret, all others for callers and
        their key or token; neither opens the other's door.

        Raises:
            Unauthenticated: no credentials, or none that we know.
        """
        if path.startswith(INTERNAL):
            return self._peers.authenticate(headers.get(PEER_HEADER), headers.get(CALLER_HEADER))
        scheme, _, token = headers.get("authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("Send an API key or a token: 'Authorization: Bearer <key>'.")
        if self._tokens is not None and token.count(".") == 2:
            return await self._tokens.verify(token)
        return await self._keys.verify(token)
