"""API keys: shown once, kept only as a keyed hash.

A key is "rsk_<prefix>_<secret>". The prefix (8 characters) names it in lists and logs; the whole
key is kept as HMAC-SHA256 under a pepper, so that a stolen copy of Redis opens nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import string
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import Redis

from deployments.contracts.identity import ApiKey, Principal
from deployments.errors import NotFound, StateUnavailable, Unauthenticated
from deployments.state.connection import answering
from deployments.state.keys import Keys
from deployments.state.outage import Outage
from deployments.state.scripts import Script

KIND = "rsk"
"""What every key begins with, so that one is known when it is seen where it should not be."""
_ALPHABET = string.ascii_lowercase + string.digits
_PREFIX_CHARS = 8
_SECRET_BYTES = 32
_LONGEST_KEY_CHARS = 128
_LAST_USED_STEP_S = 60
_MOST_REMEMBERED = 4096
FRESH_S = 30
"""A verified key is believed for so long without asking again: as long as a revocation takes."""
STALE_S = 600
"""The same while Redis is out."""
VERIFY_TIMEOUT_S = 0.5


class ApiKeyStore:
    """Makes, lists, ends and verifies keys. Every method raises StateUnavailable."""

    def __init__(
        self,
        client: Redis,
        pepper: bytes,
        keys: Keys | None = None,
        *,
        clock_s: Callable[[], float] = time.time,
        outage: Outage | None = None,
    ) -> None:
        self._client = client
        self._pepper = pepper
        self._keys = keys or Keys()
        self._clock_s = clock_s
        self._outage = outage or Outage()
        self._touch = Script(client, "touch_api_key", ("api_key",))
        self._verified: OrderedDict[str, tuple[ApiKey, float]] = OrderedDict()

    async def create(
        self,
        name: str,
        scopes: Sequence[str],
        collections: Sequence[str],
        expires_in_s: float | None = None,
        writable: Sequence[str] | None = None,
    ) -> tuple[str, ApiKey]:
        """Make a key; its text is returned here and nowhere else again."""
        key, text = new_key(name, scopes, collections, expires_in_s, writable, self._clock_s())
        async with answering(), self._client.pipeline(transaction=True) as pipe:
            pipe.hset(self._keys.api_key(key.prefix), mapping=_fields(key, self._digest(text)))
            pipe.sadd(self._keys.api_keys, key.prefix)
            await pipe.execute()
        return text, key

    async def list(self) -> list[ApiKey]:
        """Every key, expired ones too, newest first."""
        async with answering():
            prefixes: Any = await self._client.smembers(self._keys.api_keys)
            async with self._client.pipeline(transaction=False) as pipe:
                for prefix in prefixes:
                    pipe.hgetall(self._keys.api_key(prefix))
                records = await pipe.execute()
        keys = [_key(fields) for fields in records if fields]
        return sorted(keys, key=lambda key: key.created_at_s, reverse=True)

    async def get(self, prefix: str) -> ApiKey:
        """One key. Raises NotFound."""
        async with answering():
            fields: Any = await self._client.hgetall(self._keys.api_key(prefix))
        if not fields:
            raise NotFound("No such API key.")
        return _key(fields)

    async def revoke(self, prefix: str) -> None:
        """End a key: here at once, on other replicas within FRESH_S. Raises NotFound."""
        self._drop_verified(prefix)
        async with answering(), self._client.pipeline(transaction=True) as pipe:
            pipe.delete(self._keys.api_key(prefix))
            pipe.srem(self._keys.api_keys, prefix)
            deleted, _ = await pipe.execute()
        if not deleted:
            raise NotFound("No such API key.")

    async def rotate(self, prefix: str, overlap_s: float = 0.0) -> tuple[str, ApiKey]:
        """Make a key with the same rights and let the old one live for `overlap_s` more.

        A key with an end gets the same length of life again. Raises NotFound.
        """
        old = await self.get(prefix)
        lifetime_s = old.expires_at_s - old.created_at_s if old.expires_at_s else None
        made = await self.create(
            old.name, sorted(old.scopes), old.collections, lifetime_s, old.writable
        )
        if overlap_s <= 0:
            await self.revoke(prefix)
            return made
        ends_at_s = self._clock_s() + overlap_s
        if not old.expires_at_s or ends_at_s < old.expires_at_s:
            await self._set(prefix, "expires_at_s", ends_at_s)
            self._drop_verified(prefix)
        return made

    async def verify(self, text: str) -> Principal:
        """Whose key this is.

        A key verified a moment ago is not looked up again, and with Redis out it is good for
        STALE_S; one never seen by this process raises StateUnavailable then.

        Raises:
            Unauthenticated: it is malformed, unknown, revoked or expired.
        """
        prefix = prefix_of(text)
        digest = self._digest(text)
        now_s = self._clock_s()
        known = self._verified.get(digest)
        if known and 0 <= now_s - known[1] < FRESH_S:
            return _unexpired(known[0], now_s).principal
        try:
            key = await self._look_up(prefix, digest)
        except StateUnavailable:
            if known and 0 <= now_s - known[1] < STALE_S:
                return _unexpired(known[0], now_s).principal
            raise
        if key is None:
            self._verified.pop(digest, None)
            raise Unauthenticated("The API key is not valid.")
        _unexpired(key, now_s)
        self._remember(digest, key, now_s)
        if now_s - key.last_used_at_s >= _LAST_USED_STEP_S:
            await self._note_use(prefix, now_s)
        return key.principal

    async def _look_up(self, prefix: str, digest: str) -> ApiKey | None:
        async with self._outage.asking(VERIFY_TIMEOUT_S):
            fields: Any = await self._client.hgetall(self._keys.api_key(prefix))
        # An unknown prefix takes as long as a wrong secret.
        right = hmac.compare_digest(fields.get("digest", "0" * len(digest)), digest)
        return _key(fields) if fields and right else None

    async def _note_use(self, prefix: str, now_s: float) -> None:
        try:
            await self._set(prefix, "last_used_at_s", now_s)
        except StateUnavailable:
            return  # the caller is who it says all the same

    async def _set(self, prefix: str, field: str, value: float) -> None:
        await self._touch(
            {"api_key": self._keys.api_key(prefix)}, field=field, value=repr(float(value))
        )

    def _digest(self, text: str) -> str:
        return hmac.new(self._pepper, text.encode(), hashlib.sha256).hexdigest()

    def _remember(self, digest: str, key: ApiKey, now_s: float) -> None:
        self._verified[digest] = (key, now_s)
        self._verified.move_to_end(digest)
        if len(self._verified) > _MOST_REMEMBERED:
            self._verified.popitem(last=False)

    def _drop_verified(self, prefix: str) -> None:
        for digest in [d for d, (key, _) in self._verified.items() if key.prefix == prefix]:
            del self._verified[digest]


def new_key(
    name: str,
    scopes: Sequence[str],
    collections: Sequence[str],
    expires_in_s: float | None,
    writable: Sequence[str] | None,
    now_s: float,
) -> tuple[ApiKey, str]:
    """A key, and its text."""
    prefix = "".join(secrets.choice(_ALPHABET) for _ in range(_PREFIX_CHARS))
    key = ApiKey(
        prefix=prefix,
        name=name,
        scopes=frozenset(scopes),
        collections=tuple(collections),
        created_at_s=now_s,
        expires_at_s=0.0 if expires_in_s is None else now_s + expires_in_s,
        writable=None if writable is None else tuple(writable),
    )
    return key, f"{KIND}_{prefix}_{secrets.token_urlsafe(_SECRET_BYTES)}"


def prefix_of(text: str) -> str:
    """What names a key. Raises Unauthenticated for what cannot be one."""
    kind, _, rest = text.partition("_")
    prefix, _, secret = rest.partition("_")
    well_formed = (
        kind == KIND
        and len(prefix) == _PREFIX_CHARS
        and set(prefix) <= set(_ALPHABET)
        and secret
        and len(text) <= _LONGEST_KEY_CHARS
        and text.isascii()
    )
    if not well_formed:
        raise Unauthenticated("The API key is not valid.")
    return prefix


def _unexpired(key: ApiKey, now_s: float) -> ApiKey:
    if key.expired(now_s):
        raise Unauthenticated("The API key has expired.")
    return key


def _fields(key: ApiKey, digest: str) -> dict[Any, Any]:
    return {
        "digest": digest,
        "prefix": key.prefix,
        "name": key.name,
        "scopes": json.dumps(sorted(key.scopes)),
        "collections": json.dumps(key.collections),
        "writable": json.dumps(key.writable),
        "created_at_s": repr(key.created_at_s),
        "expires_at_s": repr(key.expires_at_s),
        "last_used_at_s": repr(key.last_used_at_s),
    }


def _key(fields: dict[str, str]) -> ApiKey:
    return ApiKey(
        prefix=fields["prefix"],
        name=fields["name"],
        scopes=frozenset(json.loads(fields["scopes"])),
        collections=tuple(json.loads(fields["collections"])),
        created_at_s=float(fields["created_at_s"]),
        expires_at_s=float(fields["expires_at_s"]),
        last_used_at_s=float(fields["last_used_at_s"]),
        writable=_patterns(fields.get("writable", "null")),
    )


def _patterns(text: str) -> tuple[str, ...] | None:
    value = json.loads(text)
    return None if value is None else tuple(value)
