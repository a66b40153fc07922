"""How many requests come, how they end, and how long they take, as plain ASGI."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.errors import RagserveError
from deployments.metrics import (
    IN_FLIGHT,
    OTHER,
    REJECTED,
    REQUEST_SECONDS,
    REQUESTS,
    Metrics,
)

_PREFIXES = ("/internal/v1/", "/v1/")


def refused(scope: Scope, error: RagserveError) -> None:
    """Note, for the metrics, with what code a request was refused."""
    scope.setdefault("state", {})["refused"] = error.code


class RequestMetrics:
    """Counts every request once it is over, the last byte of a stream included.

    Questions of the page's own parts (its files, health) are counted together, as `other`.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 499  # what proxies call a caller who left before the answer began
        began_s = time.perf_counter()

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._moved(1)
        try:
            await self._app(scope, receive, send_noted)
        finally:
            self._moved(-1)
            self._ended(scope, status, time.perf_counter() - began_s)

    def _moved(self, by: int) -> None:
        self._in_flight += by
        self._metrics.set(IN_FLIGHT, self._in_flight)

    def _ended(self, scope: Scope, status: int, seconds: float) -> None:
        route = route_of(scope["path"])
        self._metrics.count(REQUESTS, route=route, status=f"{status // 100}xx")
        self._metrics.observe(REQUEST_SECONDS, seconds, route=route)
        if code := scope.get("state", {}).get("refused"):
            self._metrics.count(REJECTED, reason=code)


def route_of(path: str) -> str:
    """The kind of request that a path is: never a part of the path that a caller chose."""
    for prefix in _PREFIXES:
        if path.startswith(prefix):
            room, _, rest = path[len(prefix) :].partition("/")
            return "documents" if room == "collections" and "/documents" in rest else room
    return OTHER
