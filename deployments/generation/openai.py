"""A model behind an OpenAI-compatible API: OpenAI itself, vLLM, llama.cpp's server and others."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from openai import AsyncOpenAI, Timeout

from deployments.contracts.generation import GenerationModel, GenerationRequest, Token, Usage
from deployments.errors import GenerationUnavailable, ModelNotFound
from deployments.generation.counting import TokenCounter
from deployments.generation.slots import Slots
from deployments.generation.watching import Patience
from deployments.resilience.openai import OpenAICalls, key_from


class OpenAIGenerator:
    """Talks to the OpenAI-compatible server at `base_url` (with its `/v1`).

    `api_key_env` names the environment variable that holds the API key: the key itself never
    travels in arguments. `context_tokens` is the model's, since the API does not tell it.
    `max_tokens_field` is `max_completion_tokens` for OpenAI's own reasoning models.

    Raises:
        ConfigurationError: the environment variable is not set.
    """

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        context_tokens: int,
        api_key_env: str | None = None,
        max_tokens_field: str = "max_tokens",
        parallel: int = 16,
        max_queued: int = 64,
        connect_timeout_s: float = 5.0,
        first_token_timeout_s: float = 60.0,
        token_gap_timeout_s: float = 15.0,
        tokenizer_path: str | None = None,
        bytes_per_token: float = 2.0,
    ) -> None:
        self._server = base_url
        self._calls = OpenAICalls(
            base_url, model, api_key_env, GenerationUnavailable, ModelNotFound
        )
        self._max_tokens_field = max_tokens_field
        self._patience = Patience(first_token_timeout_s, token_gap_timeout_s)
        self._counter = TokenCounter(tokenizer_path, bytes_per_token)
        self._slots = Slots(parallel, max_queued)
        self._model = GenerationModel(name=model, context_tokens=context_tokens)
        # Retries are the platform's: the client's own would multiply them.
        self._client = AsyncOpenAI(
            base_url=base_url,
            api_key=key_from(api_key_env),
            max_retries=0,
            timeout=Timeout(first_token_timeout_s, connect=connect_timeout_s),
        )
        self._verified = False

    async def model(self) -> GenerationModel:
        """The model; the first call asks the server for it.

        Raises:
            ModelNotFound: the server does not hold it.
        """
        if not self._verified:
            await self.ping()
            self._verified = True
        return self._model

    async def ping(self) -> None:
        """Ask the server whether it holds the model now.

        Raises:
            ModelNotFound: it does not.
            GenerationUnavailable: it does not answer.
        """
        with self._calls.translated():
            names = [model.id async for model in self._client.models.list()]
        if self._model.name not in names:
            raise ModelNotFound(
                f"the model server at {self._server} does not hold the model "
                f"{self._model.name!r}; it holds {', '.join(sorted(names)[:10]) or 'none'}"
            )

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self._counter.at_most(texts)

    async def aclose(self) -> None:
        """Close the connections to the server."""
        await self._client.close()

    def stream(self, request: GenerationRequest) -> AsyncGenerator[Token, None]:
        return self._slots.admit(
            self._tokens(request),
            timeout_s=request.timeout_s,
            engine=f"the model server at {self._server}",
            patience=self._patience,
        )

    async def _tokens(self, request: GenerationRequest) -> AsyncGenerator[Token, None]:
        with self._calls.translated():
            chunks = await self._client.chat.completions.create(**self._body(request))
            finish_reason = ""
            usage = None
            # Leaving closes the connection, which is how the server learns to stop.
            async with chunks:
                async for chunk in chunks:
                    for choice in chunk.choices:
                        finish_reason = choice.finish_reason or finish_reason
                        if choice.delta.content:
                            yield Token(choice.delta.content)
                    if chunk.usage is not None:
                        usage = Usage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
            if finish_reason:
                reason: Any = "length" if finish_reason == "length" else "stop"
                yield Token("", usage=usage or Usage(0, 0), finish_reason=reason)

    def _body(self, request: GenerationRequest) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._model.name,
            "messages": [{"role": m.role, "content": m.content} for m in request.messages],
            self._max_tokens_field: request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if request.stop:
            body["stop"] = list(request.stop)
        if request.seed is not None:
            body["seed"] = request.seed
        return body
