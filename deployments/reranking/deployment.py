"""The deployment that runs a reranking engine, and the reranker that reaches it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.contracts.engines import EngineSpec
from deployments.errors import RerankUnavailable
from deployments.logs import log_with_serve
from deployments.resilience.remote import answer_of


@serve.deployment
class RerankingServer:
    """Holds one engine."""

    def __init__(self, engine: EngineSpec) -> None:
        log_with_serve()
        self._engine: Any = engine.load()

    async def rerank(self, question: str, passages: Sequence[str]) -> list[float]:
        """The engine's scores."""
        scores: list[float] = await self._engine.rerank(question, passages)
        return scores

    async def check_health(self) -> None:
        """Ask an engine that lives in this process; a remote one's outage is not the replica's."""
        if (check := getattr(self._engine, "check_health", None)) is not None:
            await check()


class RemoteReranker:
    """The reranker port over a handle to a `RerankingServer`."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def rerank(self, question: str, passages: Sequence[str]) -> list[float]:
        if not passages:
            return []
        scores: list[float] = await answer_of(
            self._handle.rerank.remote,
            question,
            list(passages),
            unavailable=RerankUnavailable,
            what="the reranking deployment",
        )
        return scores
