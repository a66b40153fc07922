"""An OpenAI-compatible server: models, chat completions and embeddings under /v1."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from deployments.contracts.generation import Token, Usage
from deployments.errors import ContextLengthExceeded, Overloaded, RagserveError
from protocol_servers.ollama_server import vector
from protocol_servers.serving import (
    BrokenError,
    Fault,
    ProtocolServer,
    chained,
    first_or_left,
    generation_request,
)

_ID = "chatcmpl-0"
_CREATED = 1_767_225_600


class OpenAIServer(ProtocolServer):
    """Holds `models`; refuses calls without `api_key` where there is one.

    `max_embedding_words` is where /v1/embeddings refuses a text for its length.
    """

    def __init__(
        self,
        engine: Any,
        *,
        models: tuple[str, ...] = ("smollm2",),
        api_key: str | None = None,
        dimension: int = 8,
        max_embedding_words: int = 256,
    ) -> None:
        super().__init__(engine)
        self.models = models
        self.api_key = api_key
        self.dimension = dimension
        self.max_embedding_words = max_embedding_words

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/models", self._list),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/embeddings", self._embeddings, methods=["POST"]),
            ]
        )

    async def _list(self, request: Request) -> Response:
        await self.heard(request)
        if (refusal := self._unauthenticated(request)) is not None:
            return refusal
        data = [
            {"id": name, "object": "model", "created": _CREATED, "owned_by": "tests"}
            for name in self.models
        ]
        return JSONResponse({"object": "list", "data": data})

    async def _chat(self, request: Request) -> Response:
        body = await self.heard(request)
        fault = self.next_fault()
        refusal = self._unauthenticated(request) or self._missing(body) or _refused(fault)
        if refusal is not None:
            return refusal
        asked = generation_request(
            body["messages"],
            max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
            temperature=body.get("temperature"),
            top_p=body.get("top_p"),
            stop=body.get("stop"),
            seed=body.get("seed"),
        )
        stream = self.tokens(asked, fault if fault and fault.kind != "status" else None)
        try:
            first = await first_or_left(request, stream)
        except (RagserveError, BrokenError) as error:
            return _failed(error)
        if first is None:
            return Response()
        tokens = chained(first, stream)
        if not body.get("stream"):
            return _whole([token async for token in tokens], body["model"])
        usage = bool((body.get("stream_options") or {}).get("include_usage"))
        events = _events(tokens, body["model"], fault, with_usage=usage)
        return StreamingResponse(events, media_type="text/event-stream")

    async def _embeddings(self, request: Request) -> Response:
        body = await self.heard(request)
        refusal = (
            self._unauthenticated(request) or self._missing(body) or _refused(self.next_fault())
        )
        if refusal is not None:
            return refusal
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        words = [len(text.split()) for text in texts]
        if max(words) > self.max_embedding_words:
            message = f"This model's maximum context length is {self.max_embedding_words} tokens."
            return _error(400, message, "context_length_exceeded")
        encode = _base64 if body.get("encoding_format") == "base64" else list
        # In reverse: the API orders by index, not by position.
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": encode(vector(text, self.dimension)),
            }
            for index, text in reversed(list(enumerate(texts)))
        ]
        usage = {"prompt_tokens": sum(words), "total_tokens": sum(words)}
        return JSONResponse(
            {"object": "list", "data": data, "model": body["model"], "usage": usage}
        )

    def _unauthenticated(self, request: Request) -> Response | None:
        if self.api_key in (None, request.headers.get("authorization", "")[len("Bearer ") :]):
            return None
        return _error(401, "Incorrect API key provided", "invalid_api_key")

    def _missing(self, body: dict[str, Any]) -> Response | None:
        if body["model"] in self.models:
            return None
        return _error(404, f"The model `{body['model']}` does not exist", "model_not_found")


async def _events(
    stream: AsyncIterator[Token], model: str, fault: Fault | None, *, with_usage: bool
) -> AsyncIterator[bytes]:
    async with aclosing(stream) as tokens:  # type: ignore[type-var]
        try:
            yield _event(_chunk(model, {"role": "assistant", "content": ""}))
            async for token in tokens:
                if token.text:
                    yield _event(_chunk(model, {"content": token.text}))
                if token.usage is not None:
                    yield _event(_chunk(model, {}, token.finish_reason))
                    if with_usage:
                        yield _event(
                            {**_chunk(model, {}), "choices": [], "usage": _usage(token.usage)}
                        )
            yield b"data: [DONE]\n\n"
        except BrokenError:
            assert fault is not None
            if fault.kind == "drop":
                raise
            if fault.kind == "malformed":
                yield b'data: {"choices": [\n\n'
            if fault.kind == "error":
                yield _event({"error": {"message": fault.message, "type": "server_error"}})


def _chunk(model: str, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {
        "id": _ID,
        "object": "chat.completion.chunk",
        "created": _CREATED,
        "model": model,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    }


def _whole(tokens: list[Token], model: str) -> Response:
    last = tokens[-1]
    assert last.usage is not None
    message = {"role": "assistant", "content": "".join(token.text for token in tokens)}
    return JSONResponse(
        {
            "id": _ID,
            "object": "chat.completion",
            "created": _CREATED,
            "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": last.finish_reason}],
            "usage": _usage(last.usage),
        }
    )


def _usage(usage: Usage) -> dict[str, int]:
    total = usage.prompt_tokens + usage.completion_tokens
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": total,
    }


def _base64(components: list[float]) -> str:
    return base64.b64encode(np.asarray(components, "<f4").tobytes()).decode()


def _refused(fault: Fault | None) -> Response | None:
    if fault is None or fault.kind != "status":
        return None
    return _error(fault.status_code, fault.message, "scripted", fault.headers)


def _failed(error: Exception) -> Response:
    match error:
        case Overloaded():
            wait = {"retry-after": str(error.details["retry_after_s"])}
            return _error(429, "Rate limit reached", "rate_limit_exceeded", wait)
        case ContextLengthExceeded():
            message = "This model's maximum context length is exceeded by your messages."
            return _error(400, message, "context_length_exceeded")
        case _:
            return _error(500, "The server had an error", "server_error")


def _error(status: int, message: str, code: str, headers: dict[str, str] | None = None) -> Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return JSONResponse({"error": error}, status, headers)


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"
