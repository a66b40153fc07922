"""A model that an Ollama server holds."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import httpx
from ollama import AsyncClient, ChatResponse

from deployments.contracts.generation import GenerationModel, GenerationRequest, Token, Usage
from deployments.errors import ContextLengthExceeded, GenerationUnavailable, ModelNotFound
from deployments.generation.counting import TokenCounter
from deployments.generation.slots import Slots
from deployments.generation.watching import Patience
from deployments.resilience.ollama import OllamaCalls

log = logging.getLogger(__name__)


class OllamaGenerator:
    """Talks to the Ollama server at `base_url`.

    `parallel` should be the server's OLLAMA_NUM_PARALLEL: what is beyond waits here, where it can
    be refused in time. `num_ctx` tokens are what one request may use; Ollama cuts a longer prompt
    without a word, so one that is surely longer is refused here, exactly where `tokenizer_path`
    names the model's `tokenizer.json`. With `pull`, a missing model is fetched at the start.
    """

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        num_ctx: int = 8192,
        keep_alive: str | float = "5m",
        options: Mapping[str, Any] | None = None,
        parallel: int = 2,
        max_queued: int = 32,
        pull: bool = False,
        connect_timeout_s: float = 5.0,
        first_token_timeout_s: float = 60.0,
        token_gap_timeout_s: float = 15.0,
        tokenizer_path: str | None = None,
        bytes_per_token: float = 2.0,
    ) -> None:
        self._server = base_url
        self._name = model
        self._calls = OllamaCalls(base_url, model, GenerationUnavailable, ModelNotFound)
        self._num_ctx = num_ctx
        self._keep_alive = keep_alive
        self._options = dict(options or {})
        self._pull = pull
        self._patience = Patience(first_token_timeout_s, token_gap_timeout_s)
        self._counter = TokenCounter(tokenizer_path, bytes_per_token)
        self._slots = Slots(parallel, max_queued)
        # The patience bounds the reading; httpx bounds what comes before it.
        timeout = httpx.Timeout(first_token_timeout_s, connect=connect_timeout_s)
        self._client = AsyncClient(host=base_url, timeout=timeout)
        self._model: GenerationModel | None = None

    async def model(self) -> GenerationModel:
        """The model; the first call asks the server for it (and pulls it, if so told).

        Raises:
            ModelNotFound: the server does not hold it.
        """
        if self._model is None:
            try:
                self._model = await self._described()
            except ModelNotFound:
                if not self._pull:
                    raise
                await self._fetch()
                self._model = await self._described()
        return self._model

    async def ping(self) -> None:
        """Ask the server whether it holds the model now.

        Raises:
            ModelNotFound: it does not.
            GenerationUnavailable: it does not answer.
        """
        await self._described()

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self._counter.at_most(texts)

    async def aclose(self) -> None:
        """Close the connections to the server."""
        await self._client.close()  # type: ignore[no-untyped-call]

    def stream(self, request: GenerationRequest) -> AsyncGenerator[Token, None]:
        return self._slots.admit(
            self._tokens(request),
            timeout_s=request.timeout_s,
            engine=f"Ollama at {self._server}",
            patience=self._patience,
        )

    async def _tokens(self, request: GenerationRequest) -> AsyncGenerator[Token, None]:
        self._refuse_what_would_be_cut(request)
        with self._calls.translated():
            parts: AsyncGenerator[ChatResponse, None] = await self._client.chat(  # type: ignore[assignment]
                model=self._name,
                messages=[{"role": m.role, "content": m.content} for m in request.messages],
                stream=True,
                options=self._sampling(request),
                keep_alive=self._keep_alive,
            )
            # Closing the generator closes the connection, which is how Ollama learns to stop.
            async with aclosing(parts):
                async for part in parts:
                    if part.message.content:
                        yield Token(part.message.content)
                    if part.done:
                        yield _last(part)
                        return

    def _sampling(self, request: GenerationRequest) -> dict[str, Any]:
        sampling: dict[str, Any] = {
            **self._options,
            "num_ctx": self._num_ctx,
            "num_predict": request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
        }
        if request.stop:
            sampling["stop"] = list(request.stop)
        if request.seed is not None:
            sampling["seed"] = request.seed
        return sampling

    def _refuse_what_would_be_cut(self, request: GenerationRequest) -> None:
        tokens = self._counter.at_least([message.content for message in request.messages])
        if tokens > self._num_ctx:
            raise ContextLengthExceeded(
                f"the prompt has at least {tokens} tokens, the model takes {self._num_ctx}",
                context_tokens=self._num_ctx,
            )

    async def _described(self) -> GenerationModel:
        with self._calls.translated():
            shown = await self._client.show(self._name)
        details = shown.modelinfo or {}
        trained = [int(value) for key, value in details.items() if key.endswith(".context_length")]
        return GenerationModel(name=self._name, context_tokens=min([self._num_ctx, *trained]))

    async def _fetch(self) -> None:
        log.info("pulling the model %s to Ollama at %s", self._name, self._server)
        reported = ""
        with self._calls.translated():
            async for step in await self._client.pull(self._name, stream=True):
                percent = f" {100 * (step.completed or 0) // step.total} %" if step.total else ""
                if (report := f"{step.status}{percent}") != reported:
                    log.info("pull %s: %s", self._name, report)
                    reported = report


def _last(part: ChatResponse) -> Token:
    usage = Usage(part.prompt_eval_count or 0, part.eval_count or 0)
    reason = "length" if part.done_reason == "length" else "stop"
    return Token("", usage=usage, finish_reason=reason)  # type: ignore[arg-type]
