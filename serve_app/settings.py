"""Arguments of the applications: typed, validated by Serve, visible in Ray's dashboard.

They come from the Serve YAML and hold no secret. Where the other services are, and every secret,
is the node's `deployments/environment.py`.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork

from deployments.contracts.limits import RateLimit


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
    """The embedding model; `max_tokens` is a remote model's limit.

    The embedded engine computes `threads` batches at once, questions before chunks.
    """

    engine: Literal["auto", "onnx", "ollama", "openai"] = "auto"
    threads: Annotated[int, Field(ge=1)] = 2
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
    which vLLM and others took up). The best `candidates` are reranked. `weight` is the reranker's
    share of the score, the search's score the rest: where unset, half for `maxsim`, all for an
    endpoint.
    """

    engine: Literal["none", "maxsim", "http"] = "none"
    style: Literal["tei", "cohere"] = "tei"
    model: str | None = None
    candidates: Annotated[int, Field(ge=1, le=200)] = 20
    weight: Annotated[float, Field(ge=0, le=1)] | None = None


class QueryArgs(Args):
    """How questions are answered; a request's own options come first."""

    evidence: Literal["auto", "sentences", "passages"] = "auto"
    ungrounded: Literal["auto", "flag", "replace"] = "auto"
    top_k: Annotated[int, Field(ge=1, le=50)] = 5
    candidates: Annotated[int, Field(ge=1, le=200)] = 30
    lexical_weight: Annotated[float, Field(ge=0, le=1)] = 0.2
    deadline_s: Annotated[float, Field(gt=0)] = 60.0
    answer_cache_ttl_s: Annotated[int, Field(ge=0)] = 3600


class AuthArgs(Args):
    """Whose tokens (JWT) are taken beside API keys.

    HS256 with the node's `JWT_SECRET_KEY`; RS256 and ES256 with the public keys at `jwks_url`
    or in `jwks_file`. A token must name this issuer and this audience.
    """

    issuer: Annotated[str, Field(min_length=1)] = "ragserve"
    audience: Annotated[str, Field(min_length=1)] = "ragserve"
    leeway_s: Annotated[float, Field(ge=0, le=300)] = 30.0
    jwks_url: str = ""
    jwks_file: str = ""
    scopes_claim: str = "scope"
    collections_claim: str = "collections"
    writable_claim: str = "collections_write"


class LimitArgs(Args):
    """What a principal may ask for: requests a minute, and tokens of the language model a day.

    `service_per_minute` is for another service that names no caller, `strangers_per_minute` for
    failed authentications from one address. `trusted_proxies` are believed when they say in
    `X-Forwarded-For` whom they speak for.
    """

    generation_per_minute: Annotated[int, Field(ge=1)] = 10
    search_per_minute: Annotated[int, Field(ge=1)] = 120
    ingestion_per_minute: Annotated[int, Field(ge=1)] = 60
    service_per_minute: Annotated[int, Field(ge=1)] = 6000
    strangers_per_minute: Annotated[int, Field(ge=1)] = 60
    tokens_per_day: Annotated[int, Field(ge=1)] = 1_000_000
    trusted_proxies: tuple[IPvAnyNetwork, ...] = (
        ip_network("127.0.0.0/8"),
        ip_network("::1/128"),
    )

    def rates(self) -> dict[str, RateLimit]:
        """Every bucket that is counted, by its name."""
        return {
            "generation": RateLimit(self.generation_per_minute, 60),
            "search": RateLimit(self.search_per_minute, 60),
            "ingestion": RateLimit(self.ingestion_per_minute, 60),
            "service": RateLimit(self.service_per_minute, 60),
            "strangers": RateLimit(self.strangers_per_minute, 60),
            "tokens": RateLimit(self.tokens_per_day, 24 * 3600),
        }


class UploadArgs(Args):
    """What one request may bring."""

    max_file_bytes: Annotated[int, Field(ge=1)] = 100 * 1024 * 1024
    max_request_bytes: Annotated[int, Field(ge=1)] = 1024 * 1024 * 1024
    max_json_bytes: Annotated[int, Field(ge=1)] = 32 * 1024 * 1024
    max_files: Annotated[int, Field(ge=1)] = 1000
    max_queued_jobs: Annotated[int, Field(ge=1)] = 1000


class ResilienceArgs(Args):
    """When a dependency is left alone, and how long it may take.

    A breaker opens for `open_s` where `error_ratio` of at least `min_calls` calls that ended
    within `window_s` failed. Retries are at most `retry_ratio` of the calls. A call for one text
    may take `embed_timeout_s`, a model `first_token_timeout_s` to begin an answer and
    `token_gap_timeout_s` to go on with it; longer is a failure.
    """

    error_ratio: Annotated[float, Field(gt=0, le=1)] = 0.5
    min_calls: Annotated[int, Field(ge=1)] = 5
    window_s: Annotated[float, Field(gt=0)] = 10.0
    open_s: Annotated[float, Field(gt=0)] = 30.0
    retry_ratio: Annotated[float, Field(ge=0, le=1)] = 0.2
    embed_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    first_token_timeout_s: Annotated[float, Field(gt=0)] = 45.0
    token_gap_timeout_s: Annotated[float, Field(gt=0)] = 20.0


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


class ModelApplications(Args):
    """The applications that hold the models, where those are released apart from `rag`."""

    embedding: str = "embedding"
    generation: str = "generation"


class RagArgs(Args):
    """Arguments of application `rag`: the ingress, its models and its policies.

    With `models` the model replicas are other applications', and `embedding` and `generation`
    here only say which engines those run, for choices that depend on the engine.
    """

    models: ModelApplications | None = None
    ingress: ReplicaArgs = ReplicaArgs()
    embedding: EmbeddingArgs = EmbeddingArgs()
    generation: GenerationArgs = GenerationArgs()
    reranking: RerankingArgs = RerankingArgs()
    query: QueryArgs = QueryArgs()
    resilience: ResilienceArgs = ResilienceArgs()
    auth: AuthArgs = AuthArgs()
    limits: LimitArgs = LimitArgs()
    uploads: UploadArgs = UploadArgs()
    sources: SourceArgs = SourceArgs()


class IngestionArgs(Args):
    """Arguments of application `ingestion`.

    A supervisor that shows no sign of life for `claim_timeout_s` loses its jobs to another one.
    `lease_s` is how long it holds a collection without renewing.
    """

    supervisor: ReplicaArgs = ReplicaArgs(cpus=0.1)
    embedding_app: str = "rag"
    task_resources: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default={}, description="Ray resources of a task: where files may be read."
    )
    files_in_flight: Annotated[int, Field(ge=1)] = 2
    task_cpus: Annotated[float, Field(gt=0)] = 0.5
    chunk_tokens: Annotated[int, Field(ge=32)] = 200
    chunk_overlap_tokens: Annotated[int, Field(ge=0)] = 30
    embed_batch: Annotated[int, Field(ge=1, le=512)] = 64
    embed_calls: Annotated[int, Field(ge=1, le=64)] = 4
    claim_timeout_s: Annotated[float, Field(ge=1)] = 30.0
    lease_s: Annotated[float, Field(ge=2)] = 300.0
