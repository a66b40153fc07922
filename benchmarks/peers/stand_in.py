"""The model server that all peers are given: OpenAI's protocol in front of the platform's engines.

Embeddings come from the very ONNX model that ragserve embeds with, batched across callers; answers
from the paced stand-in (100 ms to the first token, 20 ms a token, 32 tokens). Where it is offered
a tool it calls that first, with the last message, after 100 ms. A process of its own:

    python -m benchmarks.peers.stand_in PORT MODEL_FOLDER
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from collections.abc import AsyncGenerator
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from deployments.contracts.embedding import Lane, Vectors
from deployments.contracts.generation import GenerationRequest, Message, Token
from deployments.embedding.onnx import OnnxEmbedder
from deployments.generation.paced import PacedGenerator

EMBEDDING_MODEL = "minilm"
LANGUAGE_MODEL = "paced"
DIMENSION = 384
FIRST_TOKEN_S = 0.1
QUESTION_TEXTS = 2
"""Calls of so few texts are questions, which the engine takes ahead of documents."""


class StandIn:
    """Both engines behind three routes."""

    def __init__(self, models: str) -> None:
        self._embedder = OnnxEmbedder(cache_dir=models)
        self._generator = PacedGenerator()

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/models", self._models),
                Route("/v1/embeddings", self._embeddings, methods=["POST"]),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
            ]
        )

    async def _models(self, request: Request) -> Response:  # noqa: ARG002 - a route's signature
        names = (EMBEDDING_MODEL, LANGUAGE_MODEL)
        data = [{"id": n, "object": "model", "created": 0, "owned_by": "here"} for n in names]
        return JSONResponse({"object": "list", "data": data})

    async def _embeddings(self, request: Request) -> Response:
        body = await request.json()
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        lane = Lane.QUERY if len(texts) <= QUESTION_TEXTS else Lane.INGESTION
        rows = await self._embedder.embed(texts, lane)
        encode = _base64 if body.get("encoding_format") == "base64" else _floats
        data = [
            {"object": "embedding", "index": number, "embedding": encode(row)}
            for number, row in enumerate(rows)
        ]
        usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
        return JSONResponse(
            {"object": "list", "data": data, "model": body["model"], "usage": usage}
        )

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        if body.get("tools") and not any(m["role"] == "tool" for m in body["messages"]):
            await asyncio.sleep(FIRST_TOKEN_S)
            return _tool_call(body)
        messages = [Message("user", _text(m.get("content"))) for m in body["messages"]]
        tokens = self._generator.stream(GenerationRequest(tuple(messages), max_tokens=32))
        if body.get("stream"):
            return StreamingResponse(_events(tokens), media_type="text/event-stream")
        text = "".join([token.text async for token in tokens])
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop",
        }
        return JSONResponse(_envelope("chat.completion", choice) | {"usage": _USAGE})


_USAGE = {"prompt_tokens": 100, "completion_tokens": 32, "total_tokens": 132}


def _tool_call(body: dict[str, Any]) -> Response:
    function = {
        "name": body["tools"][0]["function"]["name"],
        "arguments": json.dumps({"query": _text(body["messages"][-1]["content"])}),
    }
    called = [{"index": 0, "id": "call_0", "type": "function", "function": function}]
    message = {"role": "assistant", "content": None, "tool_calls": called}
    if body.get("stream"):
        events = [_event(message), _event({}, "tool_calls"), b"data: [DONE]\n\n"]
        return Response(b"".join(events), media_type="text/event-stream")
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    return JSONResponse(_envelope("chat.completion", choice) | {"usage": _USAGE})


def _text(content: Any) -> str:
    """A message's content, which may come in parts."""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return str(content or "")


async def _events(tokens: AsyncGenerator[Token, None]) -> AsyncGenerator[bytes, None]:
    yield _event({"role": "assistant", "content": ""})
    async for token in tokens:
        if token.text:
            yield _event({"content": token.text})
    yield _event({}, "stop")
    usage = _envelope("chat.completion.chunk") | {"choices": [], "usage": _USAGE}
    yield f"data: {json.dumps(usage)}\n\n".encode()
    yield b"data: [DONE]\n\n"


def _event(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return f"data: {json.dumps(_envelope('chat.completion.chunk', choice))}\n\n".encode()


def _envelope(kind: str, choice: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-0",
        "object": kind,
        "created": int(time.time()),
        "model": LANGUAGE_MODEL,
        "choices": [choice] if choice else [],
    }


def _floats(row: Vectors) -> list[float]:
    return [float(component) for component in row]


def _base64(row: Vectors) -> str:
    return base64.b64encode(np.asarray(row, np.float32).tobytes()).decode()


def main() -> None:
    """Serve until ended."""
    app = StandIn(sys.argv[2]).app()
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", workers=1)


if __name__ == "__main__":
    main()
