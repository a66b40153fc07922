"""Signed tokens (JWT): HS256 with the shared secret, RS256 and ES256 with an issuer's keys.

The algorithm of a token's header decides only which kind of key is looked up, never how a key is
used: the shared secret checks HS256 alone, a public key its own algorithm alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import jwt

from deployments.contracts.identity import Principal
from deployments.errors import Unauthenticated
from serve_app.auth.claims import ClaimNames, principal_of, subject_of
from serve_app.auth.key_set import KeySet

LONGEST_TOKEN_CHARS: Final = 8192
SHARED_ALGORITHM: Final = "HS256"
ISSUER_ALGORITHMS: Final = ("RS256", "ES256")


@dataclass(frozen=True, slots=True)
class TokenPolicy:
    """What a token must say. `leeway_s` forgives clocks that differ."""

    issuer: str
    audience: str
    leeway_s: float = 30.0
    claims: ClaimNames = field(default_factory=ClaimNames)


class TokenVerifier:
    """Turns a token into a principal. Either way of signing may be off."""

    def __init__(self, policy: TokenPolicy, secret: bytes = b"", keys: KeySet | None = None):
        self._policy = policy
        self._secret = secret
        self._keys = keys

    async def verify(self, token: str) -> Principal:
        """Whose token this is: `jwt:<issuer>:<subject>`.

        Raises:
            Unauthenticated: forged, expired, for somebody else, or not a token.
            IdentityUnavailable: the issuer's keys cannot be had now.
        """
        if len(token) > LONGEST_TOKEN_CHARS:
            raise Unauthenticated("The token is too long.")
        algorithm, key = await self._key(token)
        claims = decoded(
            token,
            key,
            algorithm,
            issuer=self._policy.issuer,
            audience=self._policy.audience,
            leeway_s=self._policy.leeway_s,
        )
        identity = f"jwt:{self._policy.issuer}:{subject_of(claims)}"
        return principal_of(claims, self._policy.claims, identity)

    async def _key(self, token: str) -> tuple[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise Unauthenticated("The token is not valid.") from None
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm == SHARED_ALGORITHM and self._secret:
            return algorithm, self._secret
        if algorithm in ISSUER_ALGORITHMS and self._keys is not None:
            return algorithm, await self._keys.key(kid, algorithm)
        raise Unauthenticated("The token is not valid.")


def decoded(
    token: str, key: Any, algorithm: str, *, issuer: str | None, audience: str, leeway_s: float
) -> dict[str, Any]:
    """The claims of a token signed with this key by this algorithm.

    Raises:
        Unauthenticated: saying what is wrong as far as the token's owner may know.
    """
    required = ["exp", "sub", "aud"] + (["iss"] if issuer else [])
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            issuer=issuer,
            audience=audience,
            leeway=leeway_s,
            options={"require": required},
        )
    except jwt.ExpiredSignatureError:
        raise Unauthenticated("The token has expired.") from None
    except jwt.InvalidAudienceError:
        raise Unauthenticated("The token is for another audience.") from None
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise Unauthenticated("The token is not valid.") from None
    return claims
