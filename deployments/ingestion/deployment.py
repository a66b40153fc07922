"""The deployment that runs a supervisor. Nobody calls it: its work comes from Redis."""

from __future__ import annotations

import asyncio

from ray import serve

from deployments.environment import Environment
from deployments.ingestion.blobs import BlobStore
from deployments.ingestion.settings import IngestionSettings
from deployments.ingestion.supervisor import Supervisor, SupervisorSettings
from deployments.ingestion.tasks import ray_runner
from deployments.logs import log_with_serve
from deployments.retrieval.milvus import MilvusStore
from deployments.state.connection import connect
from deployments.state.jobs import RedisJobStore
from deployments.state.locks import RedisCollectionLock
from deployments.state.queue import RedisJobQueue
from deployments.state.visibility import RedisVisibility


@serve.deployment
class IngestionSupervisor:
    """Keeps one supervisor running; unhealthy, and so replaced, once it has stopped."""

    # Ray Serve awaits a constructor that is a coroutine: the supervisor lives on its loop.
    async def __init__(self, settings: IngestionSettings) -> None:  # type: ignore[misc]
        log_with_serve()
        environment = Environment.read()
        state = connect(environment.redis_url.get_secret_value())
        supervisor = Supervisor(
            serve.get_replica_context().replica_id.unique_id,
            jobs=RedisJobStore(state),
            queue=RedisJobQueue(state),
            lock=RedisCollectionLock(state),
            visibility=RedisVisibility(state),
            store=MilvusStore(environment.milvus_uri, environment.milvus_token.get_secret_value()),
            blobs=BlobStore(environment.blob_url),
            run_file=ray_runner(settings),
            settings=SupervisorSettings(files_in_flight=settings.files_in_flight),
        )
        self._running = asyncio.create_task(supervisor.run())

    async def check_health(self) -> None:
        """Raise what ended the supervisor."""
        if self._running.done():
            self._running.result()
            raise RuntimeError("The supervisor has stopped.")

    async def __del__(self) -> None:
        """Let go of what is under way: another supervisor takes it up."""
        self._running.cancel()
