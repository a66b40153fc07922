"""The deployment that callers reach: the HTTP API and, inside it, the query pipeline.

The pipeline waits on others and computes little, so a hop of its own would cost milliseconds and
buy nothing (docs/decisions/0001).
"""

from __future__ import annotations

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.embedding.deployment import RemoteEmbedder
from deployments.environment import Environment
from deployments.generation.deployment import RemoteGenerator
from deployments.logs import log_with_serve
from deployments.reranking.deployment import RemoteReranker
from serve_app.app import create_app
from serve_app.assembly import assemble
from serve_app.settings import RagArgs


@serve.deployment
@serve.ingress()
class Ingress:
    """A stateless replica: everything it knows is in Redis and in Milvus."""

    def __init__(
        self,
        args: RagArgs,
        embedding: DeploymentHandle,
        generation: DeploymentHandle,
        reranking: DeploymentHandle | None = None,
    ) -> None:
        log_with_serve()
        embedder, generator = RemoteEmbedder(embedding), RemoteGenerator(generation)
        self._services = assemble(
            args,
            Environment.read(),
            embedder=embedder,
            generator=generator,
            reranker=RemoteReranker(reranking) if reranking else None,
            pings={"embedding": embedder.ping, "generation": generator.ping},
        )

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Built on the replica, so that no lock or client is ever pickled."""
        return create_app(self._services)
