"""What happens to every request on its way in and out, as plain ASGI.

Written without Starlette's `BaseHTTPMiddleware`, which runs each request in a task of its own
and so hides a caller's disconnect from the streams behind it. What the parts tell each other and
the routes is in the request's state: `request_id`, `announced`, `principal` and `body`.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.errors import RagserveError, RequestTimeout, TooLarge

logger = logging.getLogger(__name__)

Refuse: TypeAlias = Callable[[Scope, RagserveError], Response]
"""The response that carries an error, in the words of the API that the request's path is of."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
BODY_SILENCE_S = 30.0
"""How long a body may pause before its end: a slow one must not hold a place for ever."""


class RequestIdentity:
    """Gives every request an id (the caller's `X-Request-ID` where it is harmless) and echoes it.

    Problem documents, logs and traces carry it too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        offered = Headers(scope=scope).get("x-request-id", "")
        request_id = offered if ACCEPTABLE_ID.fullmatch(offered) else uuid4().hex
        state_of(scope)["request_id"] = request_id

        async def send_identified(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        await self._app(scope, receive, send_identified)


class SecurityHeaders:
    """Tells browsers to run nothing but the console's own files and to guess no content types."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_secured)


class AnnouncedHeaders:
    """Adds what routes announce beside their answer, be that a model, an error or a stream.

    A header set on FastAPI's `Response` parameter would be lost in the last two.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        announced: dict[str, str] = state_of(scope).setdefault("announced", {})

        async def send_announcing(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(announced)
            await send(message)

        await self._app(scope, receive, send_announcing)


class LastResort:
    """Answers for what nobody foresaw.

    It stands inside the parts that name and secure a response; Starlette's own handler of
    unexpected exceptions stands outside of them. A response that has begun is broken off.
    """

    def __init__(self, app: ASGIApp, refuse: Refuse) -> None:
        self._app = app
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def send_watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_watched)
        except ClientDisconnect:
            return  # nobody is left to answer
        except Exception as error:
            if begun or scope["type"] != "http":
                raise
            request_id = state_of(scope).get("request_id", "")
            logger.exception("request %s failed", request_id, exc_info=error)
            unexpected = RagserveError("The request failed here; the log has the reason.")
            await self._refuse(scope, unexpected)(scope, receive, send)


@dataclass(slots=True)
class BodyAllowance:
    """How large a request's body may be; a route that takes larger ones says so before it reads."""

    max_bytes: int
    exceeded: bool = False

    def check(self, size_bytes: int) -> None:
        """Raises TooLarge."""
        if size_bytes > self.max_bytes:
            self.exceeded = True
            raise self.refusal()

    def refusal(self) -> TooLarge:
        return TooLarge(
            f"The request's body is over {self.max_bytes} bytes.", max_bytes=self.max_bytes
        )


class BodyLimit:
    """Refuses bodies over a size, announced or only discovered while reading, and stalled ones."""

    def __init__(
        self, app: ASGIApp, max_bytes: int, refuse: Refuse, silence_s: float = BODY_SILENCE_S
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._refuse = refuse
        self._silence_s = silence_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        allowance = BodyAllowance(self._max_bytes)
        state_of(scope)["body"] = allowance
        length = Headers(scope=scope).get("content-length", "")
        announced_bytes = int(length) if length.isdecimal() else 0
        seen_bytes = 0
        begun = False
        whole = False

        async def receive_limited() -> Message:
            nonlocal seen_bytes, whole
            if not begun:
                allowance.check(announced_bytes)
            # Behind the body's end there is only the caller's leaving, which may take its time.
            message = await (receive() if whole else self._in_time(receive))
            whole = not message.get("more_body", False)
            seen_bytes += len(message.get("body", b""))
            allowance.check(seen_bytes)
            return message

        async def send_refusing(message: Message) -> None:
            nonlocal begun
            if not allowance.exceeded or begun:
                begun = True
                await send(message)

        try:
            await self._app(scope, receive_limited, send_refusing)
        except TooLarge:
            if not allowance.exceeded:
                raise
        if allowance.exceeded and not begun:
            # Whatever the route made of the broken body, this is what was wrong with it.
            await self._refuse(scope, allowance.refusal())(scope, receive, send)

    async def _in_time(self, receive: Receive) -> Message:
        try:
            async with asyncio.timeout(self._silence_s):
                return await receive()
        except TimeoutError:
            raise RequestTimeout("The rest of the request's body did not arrive.") from None


def state_of(scope: Scope) -> dict[str, Any]:
    """What the parts tell each other about one request."""
    state: dict[str, Any] = scope.setdefault("state", {})
    return state
