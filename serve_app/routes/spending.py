"""Tokens of the language model, against a caller's daily budget."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Annotated, TypeVar

from fastapi import Depends

from deployments.contracts.generation import Usage
from deployments.contracts.identity import Principal
from deployments.contracts.limits import RateLimiter
from deployments.contracts.query import DoneEvent, QueryEvent
from deployments.errors import RateLimited
from serve_app.auth.peers import PEER
from serve_app.routes.access import Caller, UsesServices

BUCKET = "tokens"
T = TypeVar("T")


class Budget:
    """What one caller may still have the language model read and write today.

    What an answer costs is known when it ends. So an answer is begun while anything is left, and
    charged afterwards: a budget is overdrawn by what was under way, and by no more.
    """

    def __init__(self, limiter: RateLimiter, caller: Principal) -> None:
        self._limiter = limiter
        self._key = caller.id
        # A service that names no caller spends for many; its own callers' budgets are its work.
        self._unlimited = caller is PEER

    async def open(self) -> None:
        """Let an answer begin. Raises RateLimited."""
        if self._unlimited:
            return
        verdict = await self._limiter.hit(BUCKET, self._key, cost=1)
        if not verdict.allowed:
            wait_s = max(1, math.ceil(verdict.reset_after_s))
            raise RateLimited(
                f"At most {verdict.limit} tokens a day; try in {wait_s} s.",
                limit=verdict.limit,
                retry_after_s=wait_s,
            )

    async def spend(self, usage: Usage) -> None:
        """Charge what an answer took; where less is left, all of it."""
        cost = usage.prompt_tokens + usage.completion_tokens
        if self._unlimited or cost <= 0:
            return
        verdict = await self._limiter.hit(BUCKET, self._key, cost)
        if not verdict.allowed and verdict.remaining:
            await self._limiter.hit(BUCKET, self._key, verdict.remaining)


async def charged(
    items: AsyncGenerator[T, None],
    usage_of: Callable[[T], Usage | None],
    budget: Budget,
    most_tokens: int,
) -> AsyncGenerator[T, None]:
    """The same items; the usage that one of them tells is charged.

    Who leaves before it is told is charged `most_tokens`, the longest that the answer might have
    become: what was computed by then is not known, and leaving must not be free.
    """
    usage: Usage | None = None
    try:
        async with aclosing(items):
            async for item in items:
                usage = usage_of(item) or usage
                yield item
    except (asyncio.CancelledError, GeneratorExit):
        usage = usage or Usage(0, most_tokens)
        raise
    finally:
        await asyncio.shield(budget.spend(usage or Usage(0, 0)))


def usage_of(item: QueryEvent) -> Usage | None:
    """What an answer took; nothing where it was kept from before."""
    if not isinstance(item, DoneEvent):
        return None
    return Usage(0, 0) if item.answer.cached else item.answer.usage


async def _budget(services: UsesServices, caller: Caller) -> Budget:
    return Budget(services.limiter, caller)


HasBudget = Annotated[Budget, Depends(_budget)]
