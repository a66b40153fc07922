"""Other services: a shared secret lets them in, and a signed form says for whom they ask."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Sequence
from typing import Final

import jwt

from deployments.contracts.identity import Principal
from deployments.errors import Unauthenticated
from serve_app.auth.claims import ClaimNames, principal_of, subject_of
from serve_app.auth.tokens import LONGEST_TOKEN_CHARS, SHARED_ALGORITHM, decoded

PEER_HEADER: Final = "x-internal-auth"
CALLER_HEADER: Final = "x-on-behalf-of"
AUDIENCE: Final = "ragserve-internal"
LONGEST_LIFE_S: Final = 300
LEEWAY_S: Final = 30.0
PEER_SCOPES: Final = frozenset({"query", "ingest"})
PEER: Final = Principal("service:internal", "another service", PEER_SCOPES, ("*",))
"""Who asks where no caller is named: the service itself, which may query and ingest anywhere."""


class Peers:
    """Knows the secrets that services may show: the present one and the one before."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = tuple(secret for secret in secrets if secret)

    def authenticate(self, secret: str | None, caller: str | None) -> Principal:
        """The caller that a service passes on, or the service itself.

        Args:
            secret: the header `X-Internal-Auth`.
            caller: the header `X-On-Behalf-Of`, as `on_behalf_of` makes it.

        Raises:
            Unauthenticated: a wrong secret, or a caller that no service has signed for.
        """
        offered = _digest(secret or "")
        # Every secret is compared, in constant time: how long it takes tells nothing.
        matches = [hmac.compare_digest(offered, _digest(known)) for known in self._secrets]
        if not any(matches):
            raise Unauthenticated("Services show their secret as 'X-Internal-Auth'.")
        return PEER if caller is None else self._caller(caller)

    def _caller(self, token: str) -> Principal:
        for secret in self._secrets:
            try:
                return _signed_caller(token, secret)
            except Unauthenticated:
                continue
        raise Unauthenticated("The caller named in 'X-On-Behalf-Of' is not signed for.")


def on_behalf_of(
    caller: Principal, secret: str, *, lifetime_s: int = 60, now_s: float | None = None
) -> str:
    """What a service sends as `X-On-Behalf-Of` to ask for its own caller."""
    issued_s = int(time.time() if now_s is None else now_s)
    claims = {
        "sub": caller.id,
        "name": caller.name,
        "scope": " ".join(sorted(caller.scopes)),
        "collections": list(caller.collections),
        "collections_write": list(caller.write_patterns),
        "aud": AUDIENCE,
        "iat": issued_s,
        "exp": issued_s + lifetime_s,
    }
    return jwt.encode(claims, secret.encode(), algorithm=SHARED_ALGORITHM)


def _signed_caller(token: str, secret: str) -> Principal:
    if len(token) > LONGEST_TOKEN_CHARS:
        raise Unauthenticated("The caller's name is too long.")
    claims = decoded(
        token,
        secret.encode(),
        SHARED_ALGORITHM,
        issuer=None,
        audience=AUDIENCE,
        leeway_s=LEEWAY_S,
    )
    issued_s, ends_s = claims.get("iat"), claims["exp"]
    if not isinstance(issued_s, int | float) or ends_s - issued_s > LONGEST_LIFE_S:
        raise Unauthenticated("The caller's name is signed for too long a time.")
    principal = principal_of(claims, ClaimNames(), subject_of(claims))
    return Principal(
        principal.id,
        principal.name,
        principal.scopes & PEER_SCOPES,
        principal.collections,
        principal.writable,
    )


def _digest(text: str) -> bytes:
    # Of one length, whatever was offered.
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()
