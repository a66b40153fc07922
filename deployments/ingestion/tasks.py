"""The Ray task that takes in a file, or does a step of a large one, and how a supervisor runs it.

A worker process keeps its clients between tasks: connecting, and importing what they need,
costs seconds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError, RayTaskError

from deployments.embedding.deployment import RemoteEmbedder
from deployments.embedding.minilm import weights_dir
from deployments.embedding.model_files import TOKENIZER_FILE
from deployments.environment import Environment
from deployments.errors import RagserveError, WorkerDied
from deployments.ingestion.blobs import BlobStore
from deployments.ingestion.chunking import ChunkDraft, Chunker, ChunkLimits
from deployments.ingestion.file_ingestion import Done, FileIngestion
from deployments.ingestion.large_files import RunStep
from deployments.ingestion.ranges import FileWork, Reading, Step, WriteRange
from deployments.ingestion.sandbox import ReaderSandbox
from deployments.ingestion.settings import IngestionSettings
from deployments.ingestion.tokens import load_token_counter
from deployments.retrieval.milvus import MilvusStore
from deployments.state.connection import connect
from deployments.state.jobs import RedisJobStore
from deployments.state.visibility import RedisVisibility

logger = logging.getLogger(__name__)

INGESTION_NICENESS = 10


def ingest_file(settings: IngestionSettings, step: Step, drafts: Sequence[ChunkDraft]) -> Done:
    """One attempt at one file, or one step of it: what was read, and its chunks."""
    loop, ingestion = _worker(settings)
    return asyncio.run_coroutine_threadsafe(ingestion.run(step, drafts), loop).result()


@lru_cache(maxsize=1)
def _worker(settings: IngestionSettings) -> tuple[asyncio.AbstractEventLoop, FileIngestion]:
    """This process's event loop and the clients that live on it.

    The loop runs between tasks too: the store flushes what was written after a moment of quiet.
    """
    # Questions come first, also where Ray gives every worker the same priority.
    os.nice(INGESTION_NICENESS)
    environment = Environment.read()
    state = connect(environment.state_url)
    handle = serve.get_deployment_handle(
        settings.embedding_deployment, app_name=settings.embedding_app
    )
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="ingestion", daemon=True).start()
    return loop, FileIngestion(
        store=MilvusStore(environment.milvus_uri, environment.milvus_token.get_secret_value()),
        jobs=RedisJobStore(state),
        visibility=RedisVisibility(state),
        embedder=RemoteEmbedder(handle),
        blobs=BlobStore(environment.blob_url),
        read=ReaderSandbox().read,
        chunker=Chunker(
            # The tokenizer of the embedded model; those of other sentence models count alike.
            load_token_counter(weights_dir() / TOKENIZER_FILE),
            ChunkLimits(
                chunk_tokens=settings.chunk_tokens, overlap_tokens=settings.chunk_overlap_tokens
            ),
        ),
        batch=settings.embed_batch,
        embed_calls=settings.embed_calls,
    )


def ray_runner(settings: IngestionSettings) -> RunStep:
    """Runs steps as Ray tasks; cancelling the call kills the task's process.

    The chunks of a reading stay in Ray's object store, from where other tasks take them.
    """
    # The supervisor counts deaths itself, so that a file that kills its worker is told apart.
    task = ray.remote(
        max_retries=0,
        num_cpus=settings.task_cpus,
        resources=dict(settings.task_resources),
        num_returns=2,
    )(ingest_file)

    async def run(step: Step) -> Reading | None:
        drafts: Any = ()
        if isinstance(step, WriteRange):
            # Ray hands over what an argument refers to, but does not look inside of arguments.
            step, drafts = replace(step, drafts=None), step.drafts
        reference, read = task.remote(settings, step, drafts)
        try:
            reading: Reading | None = await reference
        except asyncio.CancelledError:
            ray.cancel(reference, force=True)
            raise
        except RayTaskError as error:
            if isinstance(error.cause, RagserveError):
                raise error.cause from None
            logger.exception("%s", _named(step))
            failure = type(error.cause).__name__
            raise WorkerDied(f"The worker failed unexpectedly ({failure}).") from error
        except RayError as error:  # the process, its node or its result was lost
            raise WorkerDied(f"The worker died ({type(error).__name__}).") from error
        return None if reading is None else replace(reading, drafts=read)

    return run


def _named(step: Step) -> str:
    work = step if isinstance(step, FileWork) else step.work
    return f"job {work.job_id}: file {work.spec.number}"
