"""A worker that holds the bare llama.cpp server, asked for what the platform asks it for.

Start order: `{rag, embedding, generation}`, as for `plain_pipeline`. Order: `{bodies}`, questions
as for `/v1/query`: each goes once through the query pipeline, and the answer names the server's
`url`, its `headers` and the `bodies` that bring it the very prompts. The engine is made by the
platform's own adapter: the same slots, threads and batches.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from benchmarks.workers import Work, obey
from deployments.contracts.engines import EngineSpec
from deployments.contracts.generation import GenerationModel, GenerationRequest, Token
from deployments.contracts.query import QueryRequest
from deployments.environment import Environment
from serve_app.assembly import assemble
from serve_app.settings import RagArgs


class Recorder:
    """A generator that notes what it is asked."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.requests: list[GenerationRequest] = []

    async def model(self) -> GenerationModel:
        model: GenerationModel = await self._engine.model()
        return model

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        counts: list[int] = await self._engine.count_tokens(texts)
        return counts

    def stream(self, request: GenerationRequest) -> AsyncGenerator[Token, None]:
        self.requests.append(request)
        tokens: AsyncGenerator[Token, None] = self._engine.stream(request)
        return tokens


async def prepare(start: dict[str, Any]) -> Work:
    """The engines loaded, in this process."""
    engine = EngineSpec(**start["generation"]).load()
    recorder = Recorder(engine)
    services = assemble(
        RagArgs.model_validate(start["rag"]),
        Environment.read(),
        embedder=EngineSpec(**start["embedding"]).load(),
        generator=recorder,
    )
    # The adapter talks to the server by its in-process calls; its own address is what is wanted.
    http = engine._http  # noqa: SLF001

    async def work(order: dict[str, Any]) -> dict[str, Any]:
        recorder.requests.clear()
        for body in order["bodies"]:
            request = QueryRequest(**{name: body[name] for name in body if name != "stream"})
            await services.pipeline.answer(request)
        return {
            "url": f"{str(http.base_url).rstrip('/')}/v1/chat/completions",
            "headers": {"Authorization": http.headers["Authorization"]},
            "bodies": [_body(request) for request in recorder.requests],
        }

    return work


def _body(request: GenerationRequest) -> dict[str, Any]:
    return {
        "messages": [{"role": m.role, "content": m.content} for m in request.messages],
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stop": list(request.stop),
        "stream": True,
        "stream_options": {"include_usage": True},
    }


if __name__ == "__main__":
    obey(prepare)
