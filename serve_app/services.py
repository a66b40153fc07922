"""What the routes are given: every part of the service, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from deployments.contracts.embedding import Embedder
from deployments.contracts.generation import Generator
from deployments.contracts.identity import KeyStore
from deployments.contracts.jobs import JobStore, Visibility
from deployments.contracts.limits import RateLimiter
from deployments.contracts.retrieval import VectorStore
from deployments.ingestion.blobs import BlobStore
from deployments.ingestion.source_policy import SourcePolicy
from deployments.ingestion.sources import Sources
from deployments.metrics import UNCOUNTED, Metrics
from deployments.query.pipeline import QueryPipeline
from serve_app.audit import AuditLog
from serve_app.auth.authenticator import Authenticator
from serve_app.dependencies import Dependencies
from serve_app.holdings import Holdings
from serve_app.settings import RagArgs


@dataclass(frozen=True, slots=True)
class Services:
    """The parts behind the HTTP API. Nothing in here knows about HTTP."""

    args: RagArgs
    authenticator: Authenticator
    keys: KeyStore
    audit: AuditLog
    limiter: RateLimiter
    embedder: Embedder
    generator: Generator
    store: VectorStore
    visibility: Visibility
    holdings: Holdings
    jobs: JobStore
    blobs: BlobStore
    pipeline: QueryPipeline
    dependencies: Dependencies
    sources: Sources = field(default_factory=lambda: Sources(SourcePolicy()))
    """Nothing can be fetched unless it is allowed."""
    metrics: Metrics = UNCOUNTED
    drain_file: Path | None = None
    """While it is there, this node is about to end: not ready, but still answering."""
