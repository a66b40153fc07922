"""An Ollama server: the native API under /api, with NDJSON streams."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from deployments.contracts.generation import Token
from deployments.errors import ContextLengthExceeded, Overloaded, RagserveError
from protocol_servers.serving import (
    BrokenError,
    Fault,
    ProtocolServer,
    chained,
    first_or_left,
    generation_request,
)

_CREATED_AT = "2026-01-01T00:00:00.000000Z"
_DIGEST = "sha256:" + 64 * "0"
_BUSY = "server busy, please try again.  maximum pending requests exceeded"


class OllamaServer(ProtocolServer):
    """Holds `models`, can pull `pullable`. OLLAMA_NUM_PARALLEL and _MAX_QUEUE are the engine's.

    A model's name without a tag means `:latest`, as with Ollama.
    """

    def __init__(
        self,
        engine: Any,
        *,
        models: tuple[str, ...] = ("smollm2",),
        pullable: tuple[str, ...] = (),
        context_length: int = 8192,
        dimension: int = 8,
    ) -> None:
        super().__init__(engine)
        self.models = {_tagged(name) for name in models}
        self.pullable = {_tagged(name) for name in pullable}
        self.context_length = context_length
        self.dimension = dimension

    def app(self) -> Starlette:
        post = ["POST"]
        return Starlette(
            routes=[
                Route("/", _root),
                Route("/api/version", _version),
                Route("/api/tags", self._tags),
                Route("/api/ps", self._tags),
                Route("/api/show", self._show, methods=post),
                Route("/api/pull", self._pull, methods=post),
                Route("/api/chat", self._chat, methods=post),
                Route("/api/generate", self._generate, methods=post),
                Route("/api/embed", self._embed, methods=post),
            ]
        )

    async def _tags(self, request: Request) -> Response:
        await self.heard(request)
        return JSONResponse(
            {"models": [{"name": m, "model": m, "digest": _DIGEST} for m in sorted(self.models)]}
        )

    async def _show(self, request: Request) -> Response:
        body = await self.heard(request)
        if (missing := self._missing(body)) is not None:
            return missing
        info = {"general.architecture": "llama", "llama.context_length": self.context_length}
        return JSONResponse({"model_info": info, "capabilities": ["completion"]})

    async def _pull(self, request: Request) -> Response:
        model = _tagged((await self.heard(request))["model"])

        async def progress() -> AsyncIterator[bytes]:
            yield _line({"status": "pulling manifest"})
            if model not in self.pullable:
                yield _line({"error": "pull model manifest: file does not exist"})
                return
            for completed in (0, 50, 100):
                layer = {"digest": _DIGEST, "total": 100, "completed": completed}
                yield _line({"status": "pulling 000000000000", **layer})
            self.models.add(model)
            yield _line({"status": "success"})

        return StreamingResponse(progress(), media_type="application/x-ndjson")

    async def _chat(self, request: Request) -> Response:
        body = await self.heard(request)
        return await self._answer(request, body, body.get("messages", []), _as_message)

    async def _generate(self, request: Request) -> Response:
        body = await self.heard(request)
        messages = [{"role": "user", "content": body.get("prompt", "")}]
        return await self._answer(request, body, messages, _as_response)

    async def _answer(
        self, request: Request, body: dict[str, Any], messages: list[dict[str, Any]], shape: Any
    ) -> Response:
        fault = self.next_fault()
        if (refusal := self._missing(body) or _refused(fault)) is not None:
            return refusal
        options = body.get("options") or {}
        asked = generation_request(
            messages,
            max_tokens=options.get("num_predict"),
            temperature=options.get("temperature"),
            top_p=options.get("top_p"),
            stop=options.get("stop"),
            seed=options.get("seed"),
        )
        stream = self.tokens(asked, fault if fault and fault.kind != "status" else None)
        try:
            first = await first_or_left(request, stream)
        except (RagserveError, BrokenError) as error:
            return _failed(error)
        if first is None:
            return Response()
        lines = _lines(chained(first, stream), body["model"], shape, fault)
        if body.get("stream", True):
            return StreamingResponse(lines, media_type="application/x-ndjson")
        return _whole([json.loads(line) async for line in lines], shape)

    async def _embed(self, request: Request) -> Response:
        body = await self.heard(request)
        if (refusal := self._missing(body) or _refused(self.next_fault())) is not None:
            return refusal
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        return JSONResponse(
            {
                "model": body["model"],
                "embeddings": [vector(text, self.dimension) for text in texts],
                "prompt_eval_count": sum(len(text.split()) for text in texts),
            }
        )

    def _missing(self, body: dict[str, Any]) -> Response | None:
        if _tagged(body["model"]) in self.models:
            return None
        return _error(404, f"model '{body['model']}' not found")


def vector(text: str, dimension: int) -> list[float]:
    """Components that only this text has; not of unit length, as with many real models."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return [float(x) for x in np.random.default_rng(seed).normal(size=dimension) * 3]


async def _root(_: Request) -> Response:
    return Response("Ollama is running")


async def _version(_: Request) -> Response:
    return JSONResponse({"version": "0.12.6"})


async def _lines(
    stream: AsyncIterator[Token], model: str, shape: Any, fault: Fault | None
) -> AsyncIterator[bytes]:
    head = {"model": model, "created_at": _CREATED_AT}
    async with aclosing(stream) as tokens:  # type: ignore[type-var]
        try:
            async for token in tokens:
                if token.usage is None:
                    yield _line({**head, **shape(token.text), "done": False})
                    continue
                yield _line(
                    {
                        **head,
                        **shape(token.text),
                        "done": True,
                        "done_reason": token.finish_reason,
                        "total_duration": 1,
                        "prompt_eval_count": token.usage.prompt_tokens,
                        "eval_count": token.usage.completion_tokens,
                    }
                )
        except BrokenError:
            assert fault is not None
            if fault.kind == "drop":
                raise
            if fault.kind == "malformed":
                yield b'{"model": "smoll\n'
            if fault.kind == "error":
                yield _line({"error": fault.message})


def _whole(parts: list[dict[str, Any]], shape: Any) -> Response:
    key, read = ("message", lambda part: part["message"]["content"])
    if shape is _as_response:
        key, read = ("response", lambda part: part["response"])
    text = "".join(read(part) for part in parts)
    return JSONResponse({**parts[-1], key: shape(text)[key]})


def _as_message(text: str) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": text}}


def _as_response(text: str) -> dict[str, Any]:
    return {"response": text}


def _refused(fault: Fault | None) -> Response | None:
    if fault is None or fault.kind != "status":
        return None
    return _error(fault.status_code, fault.message)


def _failed(error: Exception) -> Response:
    match error:
        case Overloaded():
            return _error(503, _BUSY)
        case ContextLengthExceeded():
            return _error(400, "the input length exceeds the context length")
        case _:
            return _error(500, "model runner has unexpectedly stopped")


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status)


def _line(part: dict[str, Any]) -> bytes:
    return json.dumps(part).encode() + b"\n"


def _tagged(name: str) -> str:
    return name if ":" in name else f"{name}:latest"
