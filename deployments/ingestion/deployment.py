"""The deployment that runs a supervisor. Nobody calls it: its work comes from Redis."""

from __future__ import annotations

import asyncio

from ray import serve

from deployments.contracts.embedding import EmbeddingModel
from deployments.embedding.deployment import RemoteEmbedder
from deployments.environment import Environment
from deployments.ingestion.blobs import BlobStore
from deployments.ingestion.settings import IngestionSettings, SupervisorSettings
from deployments.ingestion.supervisor import Supervisor
from deployments.ingestion.sweep import Sweep
from deployments.ingestion.tasks import ray_runner
from deployments.logs import log_with_serve
from deployments.retrieval.milvus import MilvusStore
from deployments.state.connection import connect
from deployments.state.jobs import RedisJobStore
from deployments.state.keys import Lifetimes
from deployments.state.locks import RedisCollectionLock
from deployments.state.queue import RedisJobQueue
from deployments.state.visibility import RedisVisibility

BEATS = 6
"""In the time without one that loses a claim."""
RENEWALS = 5
"""In the time without one that loses a lease."""


@serve.deployment
class IngestionSupervisor:
    """Keeps one supervisor running; unhealthy, and so replaced, once it has stopped."""

    # Ray Serve awaits a constructor that is a coroutine: the supervisor lives on its loop.
    async def __init__(self, settings: IngestionSettings) -> None:  # type: ignore[misc]
        log_with_serve()
        environment = Environment.read()
        embedding = serve.get_deployment_handle(
            settings.embedding_deployment, app_name=settings.embedding_app
        )

        async def model() -> EmbeddingModel:
            # Asked anew each time: the embedding deployment may have got another model.
            return await RemoteEmbedder(embedding).model()

        self._state = connect(environment.redis_url.get_secret_value())
        self._store = MilvusStore(
            environment.milvus_uri, environment.milvus_token.get_secret_value()
        )
        lifetimes = Lifetimes(
            visibility_timeout_s=settings.claim_timeout_s, lease_s=settings.lease_s
        )
        jobs = RedisJobStore(self._state)
        blobs = BlobStore(environment.blob_url)
        supervisor = Supervisor(
            serve.get_replica_context().replica_id.unique_id,
            jobs=jobs,
            queue=RedisJobQueue(self._state, lifetimes=lifetimes),
            lock=RedisCollectionLock(self._state, lifetimes=lifetimes),
            store=self._store,
            blobs=blobs,
            model=model,
            run_file=ray_runner(settings),
            sweep=Sweep(
                jobs=jobs,
                visibility=RedisVisibility(self._state),
                store=self._store,
                blobs=blobs,
            ),
            settings=SupervisorSettings(
                files_in_flight=settings.files_in_flight,
                heartbeat_s=settings.claim_timeout_s / BEATS,
                lease_renewal_s=settings.lease_s / RENEWALS,
            ),
        )
        self._running = asyncio.create_task(supervisor.run())

    async def check_health(self) -> None:
        """Raise what ended the supervisor."""
        if self._running.done():
            self._running.result()
            raise RuntimeError("The supervisor has stopped.")

    async def __del__(self) -> None:
        """Hand over what is under way: another supervisor goes on within seconds."""
        self._running.cancel()
        await asyncio.wait({self._running})
        await self._store.close()
        await self._state.aclose()
