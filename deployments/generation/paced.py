"""A stand-in that streams at a set pace, so that a load test measures the platform alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from deployments.contracts.generation import GenerationModel, GenerationRequest, Token, Usage
from deployments.generation.slots import Slots
from deployments.generation.watching import ENDLESS

_WORDS = ("The", " stand-in", " says", " the", " same", " words", " at", " a", " set", " pace.")


class PacedGenerator:
    """Streams `tokens` words, the first after `first_token_ms`, then one every `token_ms`.

    It takes no notice of the prompt, and of the request only `max_tokens`.
    """

    def __init__(
        self,
        *,
        first_token_ms: float = 100.0,
        token_ms: float = 20.0,
        tokens: int = 32,
        context_tokens: int = 8192,
        parallel: int = 1024,
        max_queued: int = 0,
    ) -> None:
        self._first_token_s = first_token_ms / 1000
        self._token_s = token_ms / 1000
        self._length = tokens
        self._model = GenerationModel(name="paced", context_tokens=context_tokens)
        self._slots = Slots(parallel, max_queued)
        self._computed = 0

    async def model(self) -> GenerationModel:
        return self._model

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    async def tokens_computed(self) -> int:
        """Tokens streamed or given up on since the start."""
        return self._computed

    def stream(self, request: GenerationRequest) -> AsyncGenerator[Token, None]:
        return self._slots.admit(
            self._tokens(request),
            timeout_s=request.timeout_s,
            engine="the stand-in",
            patience=ENDLESS,
        )

    async def _tokens(self, request: GenerationRequest) -> AsyncGenerator[Token, None]:
        clock = asyncio.get_running_loop().time
        # Due times are absolute: a late wake-up does not slow the tokens after it.
        due = clock() + self._first_token_s
        count = min(self._length, request.max_tokens)
        for number in range(count):
            await asyncio.sleep(due - clock())
            due += self._token_s
            self._computed += 1
            yield Token(_WORDS[number % len(_WORDS)])
        prompt_tokens = sum(len(message.content.split()) for message in request.messages)
        yield Token(
            "",
            usage=Usage(prompt_tokens, count),
            finish_reason="stop" if count == self._length else "length",
        )
