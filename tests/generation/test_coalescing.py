"""Grouping tokens between replicas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from deployments.contracts.generation import Token, Usage
from deployments.errors import GenerationUnavailable
from deployments.generation.coalescing import coalesce


def forever_ms() -> float:
    return 3_600_000.0


LAST = Token("", Usage(1, 4), "stop")


class Tap:
    """A stream whose tokens the test lets out, and that knows whether it was closed."""

    def __init__(self) -> None:
        self.closed = False
        self._queue: asyncio.Queue[Token | Exception] = asyncio.Queue()

    def let(self, *items: str | Token | Exception) -> None:
        for item in items:
            self._queue.put_nowait(Token(item) if isinstance(item, str) else item)

    async def stream(self) -> AsyncGenerator[Token, None]:
        try:
            while True:
                item = await self._queue.get()
                if isinstance(item, Exception):
                    raise item
                yield item
                if item.usage is not None:
                    return
        finally:
            self.closed = True


async def test_the_first_token_is_not_held_back() -> None:
    tap = Tap()
    tap.let("a")
    async with asyncio.timeout(1), aclosing(coalesce(tap.stream(), forever_ms)) as groups:
        assert await anext(groups) == Token("a")


async def test_what_comes_within_a_window_is_one_piece_and_the_end_is_not_held_back() -> None:
    tap = Tap()
    tap.let("a")
    async with asyncio.timeout(1), aclosing(coalesce(tap.stream(), forever_ms)) as groups:
        await anext(groups)
        tap.let("b", "c", "d", LAST)
        assert [group async for group in groups] == [Token("bcd", LAST.usage, "stop")]


async def test_a_piece_is_sent_when_its_window_ends_though_nothing_follows() -> None:
    tap = Tap()
    tap.let("a")
    async with asyncio.timeout(1), aclosing(coalesce(tap.stream(), lambda: 10)) as groups:
        await anext(groups)
        tap.let("b")
        assert await anext(groups) == Token("b")


async def test_slow_tokens_are_sent_one_by_one() -> None:
    tap = Tap()
    async with asyncio.timeout(1), aclosing(coalesce(tap.stream(), lambda: 0)) as groups:
        for text in "abc":
            tap.let(text)
            assert await anext(groups) == Token(text)


async def test_a_failure_comes_after_what_came_before_it() -> None:
    tap = Tap()
    tap.let("a", "b", GenerationUnavailable("gone"))
    texts: list[str] = []
    with pytest.raises(GenerationUnavailable, match="gone"):
        await _read(tap, into=texts)
    assert "".join(texts) == "ab"


async def _read(tap: Tap, into: list[str]) -> None:
    async with asyncio.timeout(1), aclosing(coalesce(tap.stream(), forever_ms)) as groups:
        async for group in groups:
            into.append(group.text)  # noqa: PERF401 - what came before a failure is wanted


async def test_leaving_closes_the_stream() -> None:
    tap = Tap()
    tap.let("a")
    async with aclosing(coalesce(tap.stream(), forever_ms)) as groups:
        await anext(groups)
        assert not tap.closed
    assert tap.closed


async def test_cancelling_the_reader_closes_the_stream() -> None:
    tap = Tap()

    async def read() -> None:
        async with aclosing(coalesce(tap.stream(), forever_ms)) as groups:
            async for _ in groups:
                pass

    task = asyncio.create_task(read())
    tap.let("a", "b")
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tap.closed
