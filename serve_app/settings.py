"""Arguments of the applications: typed, validated by Serve, visible in Ray's dashboard.

They come from the Serve YAML and hold no secret. Where the other services are, and every secret,
is the node's `deployments/environment.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Args(BaseModel):
    """Arguments of an application or a part of one: typed, frozen, strict."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ReplicaArgs(Args):
    """How many replicas of a deployment run, and what each may use."""

    replicas: Annotated[int, Field(ge=1)] = 1
    cpus: Annotated[float, Field(ge=0)] = 0.2
    gpus: Annotated[float, Field(ge=0)] = 0.0
    max_ongoing_requests: Annotated[int, Field(ge=1)] = 256
    max_queued_requests: Annotated[int, Field(ge=-1)] = 512


class EmbeddingArgs(ReplicaArgs):
    """The embedding model. `threads` is the engine's own; `max_tokens` a remote model's limit."""

    engine: Literal["auto", "onnx", "ollama", "openai"] = "auto"
    threads: Annotated[int, Field(ge=1)] = 1
    precision: Literal["fp32", "int8"] = "fp32"
    max_tokens: Annotated[int, Field(ge=16)] = 512
    keep_alive: str = "30m"


class GenerationArgs(ReplicaArgs):
    """The language model. `parallel` answers are computed at once, `queued` more may wait."""

    engine: Literal["auto", "llama_cpp", "ollama", "openai", "paced"] = "auto"
    model_path: str | None = None
    context_tokens: Annotated[int, Field(ge=512)] = 2048
    parallel: Annotated[int, Field(ge=1)] = 4
    queued: Annotated[int, Field(ge=0)] = 64
    threads: Annotated[int, Field(ge=1)] = 1
    keep_alive: str = "30m"
    options: dict[str, Any] = Field(default={}, description="Passed to Ollama as they are.")
    pull: bool = False


class RerankingArgs(ReplicaArgs):
    """Reranking by the embedding model's token vectors (`maxsim`), by an HTTP endpoint, or none.

    The endpoint is the node's `RERANK_URL`; `style` says what it speaks (TEI's own, or Cohere's,
    which vLLM and others took up).
    """

    engine: Literal["none", "maxsim", "http"] = "none"
    style: Literal["tei", "cohere"] = "tei"
    model: str | None = None


class QueryArgs(Args):
    """How questions are answered; a request's own options come first."""

    evidence: Literal["auto", "sentences", "passages"] = "auto"
    ungrounded: Literal["auto", "flag", "replace"] = "auto"
    top_k: Annotated[int, Field(ge=1, le=50)] = 5
    candidates: Annotated[int, Field(ge=1, le=200)] = 30
    lexical_weight: Annotated[float, Field(ge=0, le=1)] = 0.25
    deadline_s: Annotated[float, Field(gt=0)] = 60.0
    answer_cache_ttl_s: Annotated[int, Field(ge=0)] = 3600


class LimitArgs(Args):
    """Requests a minute a principal."""

    generation_per_minute: Annotated[int, Field(ge=1)] = 10
    search_per_minute: Annotated[int, Field(ge=1)] = 120
    ingestion_per_minute: Annotated[int, Field(ge=1)] = 60


class UploadArgs(Args):
    """What one request may bring."""

    max_file_bytes: Annotated[int, Field(ge=1)] = 100 * 1024 * 1024
    max_request_bytes: Annotated[int, Field(ge=1)] = 1024 * 1024 * 1024
    max_json_bytes: Annotated[int, Field(ge=1)] = 32 * 1024 * 1024
    max_files: Annotated[int, Field(ge=1)] = 1000
    max_queued_jobs: Annotated[int, Field(ge=1)] = 1000


class SourceArgs(Args):
    """What callers may have fetched by URL, and how much. By default: nothing.

    `roots` are absolute paths or URLs (`/srv/handbook`, `s3://bucket/docs`) below which the
    server reads; `web` turns on http and https to the public internet, `private_networks` (CIDR)
    adds an intranet's addresses, `ports` are those that a web address may name.
    """

    roots: tuple[str, ...] = ()
    web: bool = False
    private_networks: tuple[str, ...] = ()
    ports: tuple[int, ...] = (80, 443)
    max_files: Annotated[int, Field(ge=1)] = 1000
    max_request_bytes: Annotated[int, Field(ge=1)] = 1024 * 1024 * 1024
    file_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    request_timeout_s: Annotated[float, Field(gt=0)] = 240.0


class RagArgs(Args):
    """Arguments of application `rag`: the ingress, its models and its policies."""

    ingress: ReplicaArgs = ReplicaArgs()
    embedding: EmbeddingArgs = EmbeddingArgs()
    generation: GenerationArgs = GenerationArgs()
    reranking: RerankingArgs = RerankingArgs()
    query: QueryArgs = QueryArgs()
    limits: LimitArgs = LimitArgs()
    uploads: UploadArgs = UploadArgs()
    sources: SourceArgs = SourceArgs()


class IngestionArgs(Args):
    """Arguments of application `ingestion`.

    A supervisor that shows no sign of life for `claim_timeout_s` loses its jobs to another one.
    `lease_s` is how long it holds a collection without renewing.
    """

    supervisor: ReplicaArgs = ReplicaArgs(cpus=0.1)
    files_in_flight: Annotated[int, Field(ge=1)] = 2
    task_cpus: Annotated[float, Field(gt=0)] = 0.5
    chunk_tokens: Annotated[int, Field(ge=32)] = 200
    chunk_overlap_tokens: Annotated[int, Field(ge=0)] = 30
    embed_batch: Annotated[int, Field(ge=1, le=512)] = 64
    embed_calls: Annotated[int, Field(ge=1, le=64)] = 4
    claim_timeout_s: Annotated[float, Field(ge=1)] = 30.0
    lease_s: Annotated[float, Field(ge=2)] = 300.0
