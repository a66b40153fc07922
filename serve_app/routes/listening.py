"""Work that goes on only while its caller listens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

T = TypeVar("T")


async def while_heard(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`; a caller who hangs up cancels it. The body must have been read.

    A server does not end a handler whose caller left: without this an answer that is not
    streamed would be computed to its end for nobody.

    Raises:
        ClientDisconnect: the caller left first.
    """
    doing = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise ClientDisconnect
        return doing.result()
    finally:
        doing.cancel()
        leaving.cancel()
        await asyncio.gather(doing, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
