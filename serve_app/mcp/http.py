"""The tools over streamable HTTP, for agents that are not started here.

No session is kept: each request is its own, with its own caller's key. The service decides what
the key may do; this layer only refuses those that bring none, and pages of other sites, whose
scripts reach loopback addresses through the reader's browser (DNS rebinding).
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence

import uvicorn
from mcp.server.transport_security import TransportSecuritySettings
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.mcp.roots import Roots
from serve_app.mcp.tools import server
from serve_app.schemas import ProblemDocument

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
DRAIN_S = 5


def bearer(headers: Mapping[str, str] | None) -> str | None:
    """The key of `Authorization: Bearer`, or None."""
    scheme, _, key = (headers or {}).get("authorization", "").partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


class KeyRequired:
    """Answers 401 to a request without a key."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what brings a key."""
        if scope["type"] != "http" or bearer(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        problem = ProblemDocument(
            title="Unauthorized",
            status=401,
            detail="Send an API key or a token as `Authorization: Bearer <key>`.",
            code="unauthenticated",
        )
        refusal = JSONResponse(
            problem.model_dump(exclude={"instance", "request_id"}),
            401,
            {"WWW-Authenticate": "Bearer"},
            "application/problem+json",
        )
        await refusal(scope, receive, send)


def application(url: str, roots: Roots, port: int, names: Sequence[str]) -> ASGIApp:
    """The ASGI application at `/mcp`; it answers to `names` (host, or host:port) and loopback."""
    hosts = [f"{name}:{port}" for name in LOOPBACK] + list(names)
    security = TransportSecuritySettings(
        allowed_hosts=hosts,
        allowed_origins=[f"{scheme}://{host}" for host in hosts for scheme in ("http", "https")],
    )
    app = server(url, bearer, roots).streamable_http_app(
        stateless_http=True, transport_security=security
    )
    return KeyRequired(app)


def serve(listener: socket.socket, app: ASGIApp) -> None:
    """Answer at the socket until the process is told to end."""
    config = uvicorn.Config(
        app, log_config=None, server_header=False, ws="none", timeout_graceful_shutdown=DRAIN_S
    )
    uvicorn.Server(config).run(sockets=[listener])
