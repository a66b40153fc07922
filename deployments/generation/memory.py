"""The in-memory twin of the engines: it says what it was told to, or what it was told last."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence

from deployments.contracts.generation import GenerationModel, GenerationRequest, Token, Usage
from deployments.errors import ContextLengthExceeded
from deployments.generation.slots import Slots
from deployments.generation.watching import ENDLESS

_WORD = re.compile(r"\s*\S+")


class ScriptedGenerator:
    """Gives `answers` in turn, over and over; without any it echoes the last message.

    A token is a word, one every `token_ms`. `fail_with` makes every request fail, `recover` ends
    that; `requests` keeps what was asked.
    """

    def __init__(
        self,
        *,
        answers: Sequence[str] = (),
        name: str = "scripted",
        context_tokens: int = 4096,
        token_ms: float = 0.0,
        parallel: int = 1024,
        max_queued: int = 0,
    ) -> None:
        self.requests: list[GenerationRequest] = []
        self._answers = tuple(answers)
        self._model = GenerationModel(name=name, context_tokens=context_tokens)
        self._slots = Slots(parallel, max_queued)
        self._token_s = token_ms / 1000
        self._failure: Exception | None = None
        self._failure_after_tokens = 0
        self._computed = 0

    def fail_with(self, error: Exception, *, after_tokens: int = 0) -> None:
        """Raise `error` in every request from now on, after so many tokens."""
        self._failure, self._failure_after_tokens = error, after_tokens

    def recover(self) -> None:
        """Fail no more."""
        self._failure = None

    async def model(self) -> GenerationModel:
        return self._model

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(_WORD.findall(text)) for text in texts]

    async def tokens_computed(self) -> int:
        """Tokens given since the start."""
        return self._computed

    def stream(self, request: GenerationRequest) -> AsyncGenerator[Token, None]:
        return self._slots.admit(
            self._tokens(request),
            timeout_s=request.timeout_s,
            engine="the script",
            patience=ENDLESS,
        )

    async def _tokens(self, request: GenerationRequest) -> AsyncGenerator[Token, None]:
        self.requests.append(request)
        prompt_tokens = self._checked_prompt_tokens(request)
        words = _WORD.findall(self._answer(request))
        room = min(request.max_tokens, self._model.context_tokens - prompt_tokens)
        for given, word in enumerate(words[:room]):
            self._fail_if_told_to(given)
            await asyncio.sleep(self._token_s)
            self._computed += 1
            yield Token(word)
        self._fail_if_told_to(len(words))
        yield Token(
            "",
            usage=Usage(prompt_tokens, min(len(words), room)),
            finish_reason="stop" if len(words) <= room else "length",
        )

    def _answer(self, request: GenerationRequest) -> str:
        if self._answers:
            answer = self._answers[(len(self.requests) - 1) % len(self._answers)]
        else:
            answer = request.messages[-1].content
        for stop in request.stop:
            answer = answer.partition(stop)[0]
        return answer

    def _checked_prompt_tokens(self, request: GenerationRequest) -> int:
        tokens = sum(len(_WORD.findall(message.content)) for message in request.messages)
        if tokens > self._model.context_tokens:
            raise ContextLengthExceeded(
                f"the prompt has {tokens} tokens, the model takes {self._model.context_tokens}",
                prompt_tokens=tokens,
                context_tokens=self._model.context_tokens,
            )
        return tokens

    def _fail_if_told_to(self, given: int) -> None:
        if self._failure is not None and given >= self._failure_after_tokens:
            raise self._failure
