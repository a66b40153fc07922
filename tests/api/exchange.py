"""One request to an ASGI application whose caller reads piece by piece, and may hang up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any, Literal

HangUp = Literal["message", "send", "cancel"]
"""How a server passes a hang-up on: a disconnect message (ASGI 2.3), a failing send (2.4), or the
cancellation of the request's task (Ray Serve)."""


class Exchange:
    """Inside the block the request is under way; leaving it hangs up.

    An `endless` body has more to come when its pieces are all sent: its caller hangs up.
    """

    def __init__(
        self,
        app: Any,
        method: str,
        path: str,
        *,
        body: Any = None,
        pieces: Iterable[bytes] = (),
        headers: dict[str, str] | None = None,
        hang_up: HangUp = "message",
        endless: bool = False,
    ) -> None:
        self._app = app
        self._pieces = list(pieces)
        given = {"authorization": "Bearer root", **(headers or {})}
        if body is not None:
            self._pieces = [json.dumps(body).encode()]
            given["content-type"] = "application/json"
        self._hang_up = hang_up
        self._endless = endless
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4" if hang_up == "send" else "2.3"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "headers": [(name.lower().encode(), text.encode()) for name, text in given.items()],
            "client": ("127.0.0.1", 1),
            "server": ("desk", 80),
        }
        self._gone = asyncio.Event()
        self._waiting = asyncio.Event()
        self._sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.received = 0
        self.status = 0
        self.headers: dict[str, str] = {}

    async def __aenter__(self) -> Exchange:
        self._task = asyncio.create_task(self._app(self._scope, self._receive, self._send))
        self._task.add_done_callback(lambda _: self._sent.put_nowait({"type": "ended"}))
        if self._endless:
            async with asyncio.timeout(5):
                await self._waiting.wait()
            return self
        start = await self._next()
        if start["type"] == "http.response.start":
            self.status = start["status"]
            self.headers = {name.decode(): text.decode() for name, text in start["headers"]}
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    async def leave(self) -> None:
        """Hang up, and wait for the application to have noticed."""
        self._gone.set()
        if self._hang_up == "cancel":
            self._task.cancel()
        async with asyncio.timeout(5):
            await asyncio.gather(self._task, return_exceptions=True)

    async def events(self) -> AsyncIterator[tuple[str, Any]]:
        """(name, data) of every Server-Sent Event; a comment's name is "" and its data the text."""
        buffer = b""
        while (message := await self._next())["type"] == "http.response.body":
            buffer += message.get("body", b"")
            while b"\n\n" in buffer:
                event, _, buffer = buffer.partition(b"\n\n")
                yield _parsed(event.decode())
            if not message.get("more_body"):
                return

    async def body(self) -> bytes:
        """The rest of the response."""
        found = b""
        while (message := await self._next())["type"] == "http.response.body":
            found += message.get("body", b"")
            if not message.get("more_body"):
                break
        return found

    async def _next(self) -> dict[str, Any]:
        async with asyncio.timeout(5):
            return await self._sent.get()

    async def _receive(self) -> dict[str, Any]:
        if self._pieces:
            self.received += 1
            piece = self._pieces.pop(0)
            more = bool(self._pieces) or self._endless
            return {"type": "http.request", "body": piece, "more_body": more}
        if not self.received:
            self.received += 1
            return {"type": "http.request", "body": b"", "more_body": False}
        self._waiting.set()
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if self._gone.is_set() and self._hang_up == "send":
            raise OSError("the connection is gone")
        self._sent.put_nowait(message)
        await asyncio.sleep(0)


def _parsed(event: str) -> tuple[str, Any]:
    if event.startswith(":"):
        return "", event
    fields = dict(line.split(": ", 1) for line in event.splitlines())
    data = json.loads(fields["data"])
    if "id" in fields:
        data["event_id"] = fields["id"]
    return fields["event"], data
