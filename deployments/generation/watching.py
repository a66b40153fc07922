"""A stream that stalls is an outage; one that outlives its caller's deadline is of no use."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from deployments.contracts.generation import Token
from deployments.errors import DeadlineExceeded, GenerationUnavailable


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an engine may stay silent: before its first piece (it may load), then between."""

    first_token_s: float
    token_gap_s: float


ENDLESS = Patience(first_token_s=math.inf, token_gap_s=math.inf)
"""For an engine in this process: it does not stall, it is busy, and the deadline bounds that."""


async def watched(
    stream: AsyncGenerator[Token, None], *, deadline: float, patience: Patience, engine: str
) -> AsyncGenerator[Token, None]:
    """Pass `stream` on while it keeps pace, and close it in any case.

    `deadline` is on the loop's clock; `engine` names the engine in the error's message.

    Raises:
        DeadlineExceeded: the deadline passed.
        GenerationUnavailable: the engine was silent for too long, or ended without its last token.
    """
    now = asyncio.get_running_loop().time
    allowance_s = patience.first_token_s
    async with aclosing(stream):
        while True:
            silent_at = now() + allowance_s
            try:
                async with asyncio.timeout_at(min(deadline, silent_at)):
                    token = await anext(stream)
            except StopAsyncIteration:
                raise GenerationUnavailable(f"{engine} cut the answer short") from None
            except TimeoutError:
                if deadline <= silent_at:
                    raise DeadlineExceeded("the answer took longer than its deadline") from None
                raise GenerationUnavailable(
                    f"{engine} sent nothing for {allowance_s:g} s"
                ) from None
            yield token
            if token.finish_reason is not None:
                return
            allowance_s = patience.token_gap_s
