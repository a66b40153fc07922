"""The deployment that callers reach: the HTTP API and, inside it, the query pipeline.

The pipeline waits on others and computes little, so a hop of its own would cost milliseconds and
buy nothing (docs/decisions/0001).
"""

from __future__ import annotations

import hashlib
import time

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.embedding.deployment import RemoteEmbedder
from deployments.environment import Environment
from deployments.generation.deployment import RemoteGenerator
from deployments.logs import log_with_serve
from deployments.ray_metrics import RayMetrics
from deployments.reranking.deployment import RemoteReranker
from serve_app import __version__
from serve_app.app import create_app
from serve_app.assembly import assemble
from serve_app.settings import ModelApplications, RagArgs

EMBEDDING = "Embedding"
GENERATION = "Generation"
HANDLE_TIMEOUT_S = 60.0
POLL_S = 0.5


@serve.deployment
@serve.ingress()
class Ingress:
    """A stateless replica: everything it knows is in Redis and in Milvus."""

    def __init__(
        self,
        args: RagArgs,
        reranking: DeploymentHandle | None = None,
        embedding: DeploymentHandle | None = None,
        generation: DeploymentHandle | None = None,
    ) -> None:
        log_with_serve()
        elsewhere = args.models or ModelApplications()
        embedder = RemoteEmbedder(embedding or _handle(EMBEDDING, elsewhere.embedding))
        generator = RemoteGenerator(generation or _handle(GENERATION, elsewhere.generation))
        self._services = assemble(
            args,
            Environment.read(),
            embedder=embedder,
            generator=generator,
            reranker=RemoteReranker(reranking) if reranking else None,
            metrics=RayMetrics(),
            pings={"embedding": embedder.ping, "generation": generator.ping},
        )
        self._services.audit.record(
            "configuration.load",
            "allowed",
            version=__version__,
            # Another digest than the line before: the configuration was changed.
            sha256=hashlib.sha256(args.model_dump_json().encode()).hexdigest(),
        )

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Built on the replica, so that no lock or client is ever pickled."""
        return create_app(self._services)


def _handle(deployment: str, application: str) -> DeploymentHandle:
    """A deployment of another application, which may be deployed a moment later than this one.

    Raises:
        KeyError: there is still none after HANDLE_TIMEOUT_S.
    """
    deadline = time.monotonic() + HANDLE_TIMEOUT_S
    while True:
        try:
            return serve.get_deployment_handle(deployment, app_name=application)
        except KeyError:  # as Serve says that there is no such deployment
            if time.monotonic() > deadline:
                raise
        time.sleep(POLL_S)
