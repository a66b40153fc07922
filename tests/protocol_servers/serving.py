"""Running a protocol server in a thread, and what all of them can be told and asked."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request

from deployments.contracts.generation import GenerationRequest, Message, Token

T = TypeVar("T")


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request: once, `after_tokens` tokens of its answer.

    `silent`: nothing more comes. `cut`: the body ends in good order, but early. `drop`: the
    connection breaks. `malformed`: a line that is no JSON. `error`: the protocol's error inside
    the stream. `status`: an HTTP error, `status_code`, before anything.
    """

    kind: Literal["silent", "cut", "drop", "malformed", "error", "status"]
    after_tokens: int = 0
    status_code: int = 500
    message: str = "scripted failure"
    headers: dict[str, str] = field(default_factory=dict)


class BrokenError(Exception):
    """Raised in a response's body, so that uvicorn breaks the connection."""


class ProtocolServer:
    """An HTTP face over an engine of ours, in a thread of its own.

    `requests` keeps (path, body) of every call, `hung_up` counts callers who left before the
    end, `faults` go wrong one request each, in order.
    """

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.hung_up = 0
        self.faults: deque[Fault] = deque()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: uvicorn.Server | None = None
        self._thread = threading.Thread(target=self._run, name=type(self).__name__)

    def app(self) -> Starlette:
        """The protocol's routes."""
        raise NotImplementedError

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        until = time.monotonic() + 10
        while self._server is None or not self._server.started:
            assert self._thread.is_alive()
            assert time.monotonic() < until, "the server did not start"
            time.sleep(0.005)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.should_exit = True
        self._thread.join(timeout=10)
        self._socket.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Await on the server's loop, where its engine lives."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def tokens_computed(self) -> int:
        return int(self.run(self.engine.tokens_computed()))

    async def until(self, condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """Wait for what the server's thread is about to notice."""
        async with asyncio.timeout(timeout_s):
            while not condition():  # noqa: ASYNC110 - the event is in another thread
                await asyncio.sleep(0.005)

    def next_fault(self) -> Fault | None:
        return self.faults.popleft() if self.faults else None

    async def heard(self, request: Request) -> dict[str, Any]:
        """The body of a request, once it is recorded."""
        body = await request.json() if int(request.headers.get("content-length", 0)) else {}
        self.requests.append((request.url.path, body))
        self.headers.append(dict(request.headers))
        return dict(body)

    def _run(self) -> None:
        config = uvicorn.Config(
            self.app(), log_config=None, access_log=False, lifespan="off", ws="none",
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        asyncio.run(self._serve(self._server))

    async def _serve(self, server: uvicorn.Server) -> None:
        self._loop = asyncio.get_running_loop()
        await server.serve(sockets=[self._socket])

    async def tokens(
        self, request: GenerationRequest, fault: Fault | None
    ) -> AsyncGenerator[Token, None]:
        """The engine's stream up to the fault; a caller who leaves ends it and is counted."""
        ended = False
        try:
            async with aclosing(self.engine.stream(request)) as stream:
                count = 0
                async for token in stream:
                    if fault is not None and count >= fault.after_tokens:
                        if fault.kind == "silent":
                            await asyncio.sleep(3600)
                        ended = True
                        raise BrokenError(fault.kind)
                    count += 1
                    yield token
            ended = True
        finally:
            self.hung_up += not ended


def generation_request(
    messages: list[dict[str, Any]], *, max_tokens: int | None, **sampling: Any
) -> GenerationRequest:
    """Our own request from a protocol's fields, those not given left out."""
    given = {name: value for name, value in sampling.items() if value is not None}
    stop = given.pop("stop", ())
    return GenerationRequest(
        tuple(Message(message["role"], message["content"]) for message in messages),
        max_tokens=max_tokens if max_tokens and max_tokens > 0 else 256,
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        timeout_s=3600,
        **given,
    )


async def first_or_left(request: Request, stream: AsyncGenerator[Token, None]) -> Token | None:
    """The first token, or None when the caller leaves before it; then `stream` is closed."""
    first = asyncio.ensure_future(anext(stream))
    left = asyncio.ensure_future(_left(request))
    await asyncio.wait({first, left}, return_when=asyncio.FIRST_COMPLETED)
    left.cancel()
    if not first.done():
        first.cancel()
        await asyncio.wait({first})
        return None
    return first.result()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def chained(first: Token, rest: AsyncGenerator[Token, None]) -> AsyncIterator[Token]:
    """`first`, then `rest`; closing closes both."""
    async with aclosing(rest):
        yield first
        async for token in rest:
            yield token
