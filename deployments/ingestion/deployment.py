"""The deployment that runs a supervisor. Nobody calls it: its work comes from Redis."""

from __future__ import annotations

import asyncio

from ray import serve

from deployments.contracts.embedding import EmbeddingModel
from deployments.embedding.deployment import RemoteEmbedder
from deployments.environment import Environment
from deployments.errors import StateUnavailable
from deployments.ingestion.autoscaling import QUEUED_JOBS
from deployments.ingestion.blobs import BlobStore
from deployments.ingestion.counting import counted_jobs, watch_depth
from deployments.ingestion.settings import IngestionSettings, SupervisorSettings
from deployments.ingestion.supervisor import Supervisor
from deployments.ingestion.sweep import Sweep
from deployments.ingestion.tasks import ray_runner
from deployments.logs import log_with_serve
from deployments.ray_metrics import RayMetrics
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

        self._state = connect(environment.state_url)
        self._store = MilvusStore(
            environment.milvus_uri, environment.milvus_token.get_secret_value()
        )
        lifetimes = Lifetimes(
            visibility_timeout_s=settings.claim_timeout_s, lease_s=settings.lease_s
        )
        self._queue = RedisJobQueue(self._state, lifetimes=lifetimes)
        metrics = RayMetrics()
        jobs = counted_jobs(RedisJobStore(self._state), metrics)
        blobs = BlobStore(environment.blob_url)
        supervisor = Supervisor(
            serve.get_replica_context().replica_id.unique_id,
            jobs=jobs,
            queue=self._queue,
            lock=RedisCollectionLock(self._state, lifetimes=lifetimes),
            store=self._store,
            blobs=blobs,
            model=model,
            run_step=ray_runner(settings),
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
        self._watching = asyncio.create_task(watch_depth(self._queue, metrics))

    async def check_health(self) -> None:
        """Raise what ended the supervisor."""
        if self._running.done():
            self._running.result()
            raise RuntimeError("The supervisor has stopped.")

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What `autoscaling.SupervisorsForQueue` scales by; Serve asks for it."""
        try:
            return {QUEUED_JOBS: float(await self._queue.depth())}
        except StateUnavailable:
            return {}

    async def __del__(self) -> None:
        """Hand over what is under way: another supervisor goes on within seconds."""
        self._watching.cancel()
        self._running.cancel()
        await asyncio.wait({self._running, self._watching})
        await self._store.close()
        await self._state.aclose()
