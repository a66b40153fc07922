"""Server-Sent Events: the wire format, and a response that keeps quiet connections open."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator

from fastapi.responses import StreamingResponse

from deployments.errors import RagserveError
from serve_app.problems import as_json, problem_of

logger = logging.getLogger(__name__)

KEEP_ALIVE_S = 15.0


class EventStream(StreamingResponse):
    """A response of events. A comment every 15 s keeps proxies from closing a quiet one."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(
            _kept_alive(events),
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )


def event(name: str, data: str, *, event_id: str = "") -> bytes:
    """One event; `data` is a single line of JSON."""
    prefix = f"id: {event_id}\n" if event_id else ""
    return f"{prefix}event: {name}\ndata: {data}\n\n".encode()


def failure(error: Exception, request_id: str) -> bytes:
    """The event that ends a stream which cannot go on: a problem document."""
    if not isinstance(error, RagserveError):
        logger.exception("the stream of request %s failed", request_id, exc_info=error)
        error = RagserveError("The stream failed here; the log has the reason.")
    return event("error", as_json(problem_of(error, request_id)))


async def _kept_alive(events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    pending = asyncio.ensure_future(anext(events, None))
    try:
        while True:
            done, _ = await asyncio.wait({pending}, timeout=KEEP_ALIVE_S)
            if not done:
                yield b": still here\n\n"
                continue
            item = pending.result()
            if item is None:
                return
            yield item
            pending = asyncio.ensure_future(anext(events, None))
    finally:
        # A caller who left: the source must stop working, not merely be forgotten. Shielded, for
        # whoever cancels this may do so again at its next wait.
        await asyncio.shield(_closed(pending, events))


async def _closed(
    pending: asyncio.Future[bytes | None], events: AsyncGenerator[bytes, None]
) -> None:
    pending.cancel()
    await asyncio.gather(pending, return_exceptions=True)
    await events.aclose()
