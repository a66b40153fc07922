"""How documents are taken in, as plain data that travels to supervisors and tasks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IngestionSettings:
    """Bounds of ingestion.

    `embedding_app` and `embedding_deployment` name the Serve deployment that embeds.
    `task_cpus` is what Ray sets aside for a file being read.
    """

    files_in_flight: int = 2
    task_cpus: float = 0.5
    chunk_tokens: int = 200
    chunk_overlap_tokens: int = 30
    embed_batch: int = 64
    embedding_app: str = "rag"
    embedding_deployment: str = "Embedding"
