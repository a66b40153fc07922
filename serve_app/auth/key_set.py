"""Public keys of an issuer (a JWKS): fetched from a URL or a file, and kept for a while."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import httpx
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt import PyJWK, PyJWTError

from deployments.errors import ConfigurationError, IdentityUnavailable, Unauthenticated

logger = logging.getLogger(__name__)

Load: TypeAlias = Callable[[], Awaitable[bytes]]
PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

FRESH_S: Final = 600.0
FILE_FRESH_S: Final = 60.0
RETRY_S: Final = 30.0
"""A token with an unknown key makes us ask again, but strangers must not choose how often."""
STALE_S: Final = 24 * 3600.0
"""How long known keys are believed while their issuer does not answer."""
FETCH_TIMEOUT_S: Final = 5.0
MAX_BYTES: Final = 1024 * 1024
MIN_RSA_BITS: Final = 2048
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def from_url(url: str) -> Load:
    """Fetch over https; plain http is for this machine alone. Raises ConfigurationError."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise ConfigurationError(f"The JWKS URL must begin with https://: {url}")

    async def load() -> bytes:
        body = b""
        async with (
            httpx.AsyncClient(timeout=FETCH_TIMEOUT_S, follow_redirects=False) as client,
            client.stream("GET", url, headers={"Accept": "application/json"}) as answer,
        ):
            answer.raise_for_status()
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > MAX_BYTES:
                    raise IdentityUnavailable("The issuer's keys are too large.")
        return body

    return load


def from_file(path: Path) -> Load:
    """Read a mounted file, again and again: it may be replaced."""

    async def load() -> bytes:
        return await asyncio.to_thread(path.read_bytes)

    return load


class KeySet:
    """The keys by their ids, loaded when first asked for."""

    def __init__(
        self,
        load: Load,
        *,
        fresh_s: float = FRESH_S,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._fresh_s = fresh_s
        self._clock_s = clock_s
        self._keys: dict[str | None, tuple[str | None, PublicKey]] = {}
        self._loaded_s = self._tried_s = float("-inf")
        self._loading = asyncio.Lock()

    async def key(self, kid: str | None, algorithm: str) -> PublicKey:
        """The key for a token's header.

        Raises:
            Unauthenticated: the issuer has no such key for this algorithm.
            IdentityUnavailable: the issuer's keys are not known and cannot be had now.
        """
        if kid not in self._keys or self._age_s > self._fresh_s:
            await self._refresh(kid)
        if self._age_s > STALE_S:
            raise IdentityUnavailable("The issuer's keys cannot be fetched.")
        declared, key = self._keys.get(kid, (None, None))
        kind = rsa.RSAPublicKey if algorithm == "RS256" else ec.EllipticCurvePublicKey
        if not isinstance(key, kind) or declared not in (None, algorithm):
            raise Unauthenticated("The token is not valid.")
        return key

    @property
    def _age_s(self) -> float:
        return self._clock_s() - self._loaded_s

    async def _refresh(self, kid: str | None) -> None:
        async with self._loading:
            fresh = kid in self._keys and self._age_s <= self._fresh_s  # by another, meanwhile
            if fresh or self._clock_s() - self._tried_s < RETRY_S:
                return
            self._tried_s = self._clock_s()
            try:
                self._keys = _usable(await self._load())
                self._loaded_s = self._clock_s()
            except (httpx.HTTPError, OSError, ValueError, IdentityUnavailable) as error:
                logger.warning("the issuer's keys cannot be loaded: %s", type(error).__name__)


def _usable(document: bytes) -> dict[str | None, tuple[str | None, PublicKey]]:
    """Signature keys of the two kinds we take. Symmetric ones are nobody's public key."""
    keys: dict[str | None, tuple[str | None, PublicKey]] = {}
    entries: Any = json.loads(document)
    for entry in entries["keys"] if isinstance(entries, dict) and "keys" in entries else ():
        found = _key(entry) if isinstance(entry, dict) else None
        if found is not None:
            keys[entry.get("kid")] = (entry.get("alg"), found)
    if len(keys) == 1:
        # A token without a key id can only mean this one.
        keys.setdefault(None, next(iter(keys.values())))
    return keys


def _key(entry: dict[str, Any]) -> PublicKey | None:
    if entry.get("kty") not in ("RSA", "EC") or entry.get("use", "sig") != "sig":
        return None
    try:
        key = PyJWK({k: v for k, v in entry.items() if k != "alg"}).key
    except (PyJWTError, ValueError):
        return None
    if isinstance(key, rsa.RSAPublicKey):
        return key if key.key_size >= MIN_RSA_BITS else None
    # ES256 is this curve and no other; a private key has no business in here.
    p256 = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    return key if p256 else None
