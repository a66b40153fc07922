"""How documents are taken in, as plain data that travels to supervisors and tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from deployments.resilience.retries import OUTAGE, Retry

RANGE_PAGES: Final = 64
"""Pages that one task reads, some seconds' work: a file with more is read by several."""
RANGE_CHUNKS: Final = 512
"""Chunks that one task embeds and stores: a file with more is written by several."""


@dataclass(frozen=True, slots=True)
class IngestionSettings:
    """Bounds of ingestion.

    `embedding_app` and `embedding_deployment` name the Serve deployment that embeds.
    `task_cpus` and `task_resources` are what Ray sets aside for a file being read. `embed_calls`
    batches of one file, of `embed_batch` chunks each, are under way at a time: at least one for
    each replica.
    A supervisor without a sign of life for `claim_timeout_s` loses its jobs; `lease_s` is how
    long it holds a collection unrenewed.
    """

    files_in_flight: int = 2
    task_cpus: float = 0.5
    chunk_tokens: int = 200
    chunk_overlap_tokens: int = 30
    embed_batch: int = 64
    embed_calls: int = 4
    claim_timeout_s: float = 30.0
    lease_s: float = 300.0
    embedding_app: str = "rag"
    embedding_deployment: str = "Embedding"
    task_resources: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class SupervisorSettings:
    """How much is under way at once, and how often things are looked at."""

    jobs_in_flight: int = 4
    files_in_flight: int = 2
    range_chunks: int = RANGE_CHUNKS
    max_deliveries: int = 5
    """A job given out so often without an end, and without one more file done, is poison."""
    max_deaths: int = 3
    """Of workers on one file: then the file is to blame."""
    claim_wait_s: float = 1.0
    heartbeat_s: float = 5.0
    cancel_poll_s: float = 0.5
    lease_renewal_s: float = 60.0
    busy_pause_s: float = 0.5
    outage_pause_s: float = 1.0
    outage: Retry = OUTAGE


@dataclass(frozen=True, slots=True)
class SweepSettings:
    """How often what nobody needs any more is removed."""

    versions_s: float = 5.0
    blobs_s: float = 3600.0
    blob_age_s: float = 3600.0
    """Younger blobs may belong to a request that has not submitted its job yet."""
