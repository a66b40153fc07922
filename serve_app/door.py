"""Where callers are let in, and strangers stopped."""

from __future__ import annotations

import math

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.contracts.limits import RateLimiter
from deployments.errors import RagserveError, RateLimited, Unauthenticated
from serve_app.addresses import Network, client_address
from serve_app.audit import AuditLog
from serve_app.auth.authenticator import Authenticator
from serve_app.middleware import Refuse, state_of

OPEN_PATHS = frozenset({"/", "/health", "/health/live", "/health/ready"})
OPEN_FOLDER = "/static/"


class Door:
    """Lets callers in, and strangers only to what is open to all.

    A route added tomorrow is closed without having to say so, and no byte of a stranger's body
    is read. Failures are counted by address; who brings a good key is let in whatever others at
    the same address do.
    """

    def __init__(
        self,
        app: ASGIApp,
        authenticator: Authenticator,
        limiter: RateLimiter,
        log: AuditLog,
        trusted_proxies: tuple[Network, ...],
        refuse: Refuse,
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._limiter = limiter
        self._log = log
        self._trusted_proxies = trusted_proxies
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = path_of(scope)
        if scope["type"] != "http" or path in OPEN_PATHS or path.startswith(OPEN_FOLDER):
            await self._app(scope, receive, send)
            return
        try:
            principal = await self._authenticate(scope, path)
        except RagserveError as error:
            await self._refuse(scope, error)(scope, receive, send)
            return
        state_of(scope)["principal"] = principal
        await self._app(scope, receive, send)

    async def _authenticate(self, scope: Scope, path: str) -> object:
        try:
            return await self._authenticator.authenticate(path, Headers(scope=scope))
        except Unauthenticated as error:
            await self._count_failure(scope, path, error)
            raise

    async def _count_failure(self, scope: Scope, path: str, error: Unauthenticated) -> None:
        """Record it, unless the address has failed too often: a flood must not fill the disk."""
        address = client_address(scope, self._trusted_proxies)
        verdict = await self._limiter.hit("strangers", address)
        if not verdict.allowed:
            wait_s = max(1, math.ceil(verdict.reset_after_s))
            raise RateLimited(
                "Too many requests from your address without a good key.", retry_after_s=wait_s
            ) from None
        self._log.record(
            "authentication",
            "refused",
            request_id=state_of(scope).get("request_id", ""),
            address=address,
            path=path,
            reason=error.message,
        )


def path_of(scope: Scope) -> str:
    """The path as routes see it."""
    path: str = scope.get("path", "").removeprefix(scope.get("root_path", ""))
    return path
