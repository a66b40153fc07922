"""Fewer messages for the same text, where a stream crosses replicas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress

from deployments.contracts.generation import Token


async def coalesce(
    stream: AsyncIterator[Token], window_ms: Callable[[], float]
) -> AsyncGenerator[Token, None]:
    """Send the first piece at once, then what has come together every `window_ms`.

    The window is asked for anew at each piece: it may widen while many streams are under way.

    The end of the stream is not held back, and neither is a failure: what came before it is
    sent, then it is raised. Leaving closes `stream`.
    """
    pieces: asyncio.Queue[Token | None] = asyncio.Queue()
    ended = asyncio.Event()
    pump = asyncio.create_task(_pump(stream, pieces, ended))
    clock = asyncio.get_running_loop().time
    send_at = clock()
    try:
        # The pump's last word is None: a group that ends with it is the last one.
        while (piece := await pieces.get()) is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(send_at):
                    await ended.wait()
            rest = [pieces.get_nowait() for _ in range(pieces.qsize())]
            yield _joined([piece, *filter(None, rest)])
            if rest and rest[-1] is None:
                break
            send_at = clock() + window_ms() / 1000
        await pump
    finally:
        pump.cancel()
        await asyncio.wait({pump})


async def _pump(
    stream: AsyncIterator[Token], pieces: asyncio.Queue[Token | None], ended: asyncio.Event
) -> None:
    """Take from `stream` in one task of its own, so that waiting for a window never stops it."""
    try:
        async for token in stream:
            pieces.put_nowait(token)
    finally:
        pieces.put_nowait(None)
        ended.set()
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()


def _joined(group: list[Token]) -> Token:
    last = group[-1]
    return Token("".join(piece.text for piece in group), last.usage, last.finish_reason)
