"""A worker that runs the query pipeline in one plain process: the baseline of the platform.

The same `QueryPipeline`, engines, options, Redis and Milvus as the service, put together by the
same `assemble`; without Ray, HTTP, authentication and limits. Start order: `{rag, embedding,
generation}`. Order: `{bodies, concurrency, requests}`, the bodies as for `/v1/query`.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.http_load import Samples
from benchmarks.workers import Work, obey
from deployments.contracts.engines import EngineSpec
from deployments.contracts.query import Answer, DoneEvent, QueryRequest, TokenEvent
from deployments.environment import Environment
from deployments.query.pipeline import QueryPipeline
from serve_app.assembly import assemble
from serve_app.settings import RagArgs


async def prepare(start: dict[str, Any]) -> Work:
    """The engines loaded, in this process."""
    services = assemble(
        RagArgs.model_validate(start["rag"]),
        Environment.read(),
        embedder=EngineSpec(**start["embedding"]).load(),
        generator=EngineSpec(**start["generation"]).load(),
    )

    async def work(order: dict[str, Any]) -> dict[str, Any]:
        samples = Samples()
        bodies = itertools.islice(itertools.cycle(order["bodies"]), order["requests"])
        begun, cpu = time.perf_counter(), time.process_time()
        callers = range(order["concurrency"])
        await asyncio.gather(*(_in_turn(services.pipeline, bodies, samples) for _ in callers))
        took_s, cpu_s = time.perf_counter() - begun, time.process_time() - cpu
        return {"seconds": took_s, "cpu_s": cpu_s, **samples.read()}

    return work


async def _in_turn(
    pipeline: QueryPipeline, bodies: Iterator[dict[str, Any]], samples: Samples
) -> None:
    for body in bodies:
        request = QueryRequest(**{name: body[name] for name in body if name != "stream"})
        begun = time.perf_counter()
        first_s = 0.0
        async for event in pipeline.stream(request):
            if isinstance(event, TokenEvent) and not first_s:
                first_s = time.perf_counter() - begun
            elif isinstance(event, DoneEvent):
                answer = event.answer
        samples.total_ms.append(1000 * (time.perf_counter() - begun))
        samples.first_ms.append(1000 * first_s)
        samples.add(request.question, _as_over_http(answer))


def _as_over_http(answer: Answer) -> dict[str, Any]:
    return {
        "answer": answer.text,
        "answered": answer.answered,
        "degraded": answer.degraded,
        "usage": {"completion_tokens": answer.usage.completion_tokens},
    }


if __name__ == "__main__":
    obey(prepare)
