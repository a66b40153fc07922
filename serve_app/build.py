"""The composition root: typed arguments in, Serve applications out.

The only place that calls `.bind()`, and the only one that chooses an engine. A URL in the
node's environment replaces the embedded engine by the real remote one.
"""

# No `from __future__ import annotations` here: Serve reads the builders' annotations as classes.
from typing import Any

from ray.serve import Application
from ray.serve.config import BackpressureConfig

from deployments.contracts.engines import EngineSpec
from deployments.embedding.deployment import EmbeddingServer
from deployments.environment import Environment
from deployments.errors import ConfigurationError
from deployments.generation.deployment import GenerationServer
from deployments.ingestion.deployment import IngestionSupervisor
from deployments.ingestion.settings import IngestionSettings
from deployments.reranking.deployment import RerankingServer
from serve_app.ingress import EMBEDDING, GENERATION, Ingress
from serve_app.settings import (
    EmbeddingArgs,
    GenerationArgs,
    IngestionArgs,
    QueryArgs,
    RagArgs,
    ReplicaArgs,
)

BUSY_RETRY_AFTER_S = 1
"""Full queues of short requests empty within about this."""
REQUEST_DRAIN_S = 60.0
"""A replica that is being replaced finishes what it streams, for this long."""


def rag(args: RagArgs) -> Application:
    """Application `rag`, the query path: Ingress -> Embedding, Generation.

    One graph, or the ingress alone where `args.models` names the applications of the models.
    """
    environment = Environment.read()
    models = (embedding(args.embedding), generation(args.generation)) if not args.models else ()
    reranking = None
    if args.reranking.engine != "none":
        reranking = _bind(
            RerankingServer, "Reranking", args.reranking, reranking_engine(args, environment)
        )
    args = args.model_copy(update={"query": resolved_query(args, environment)})
    return _bind(Ingress, "Ingress", args.ingress, args, reranking, *models)


def embedding(args: EmbeddingArgs) -> Application:
    """Application `embedding`: the replicas that turn text into vectors."""
    return _bind(EmbeddingServer, EMBEDDING, args, embedding_engine(args, Environment.read()))


def generation(args: GenerationArgs) -> Application:
    """Application `generation`: the replicas that write answers."""
    return _bind(GenerationServer, GENERATION, args, generation_engine(args, Environment.read()))


def ingestion(args: IngestionArgs) -> Application:
    """Application `ingestion`: the supervisor, which nobody calls. Its work comes from Redis."""
    Environment.read()
    settings = IngestionSettings(
        files_in_flight=args.files_in_flight,
        task_cpus=args.task_cpus,
        chunk_tokens=args.chunk_tokens,
        chunk_overlap_tokens=args.chunk_overlap_tokens,
        embed_batch=args.embed_batch,
        embed_calls=args.embed_calls,
        claim_timeout_s=args.claim_timeout_s,
        lease_s=args.lease_s,
        embedding_app=args.embedding_app,
        task_resources=tuple(sorted(args.task_resources.items())),
    )
    return _bind(IngestionSupervisor, "Supervisor", args.supervisor, settings)


def embedding_engine(args: EmbeddingArgs, environment: Environment) -> EngineSpec:
    """The embedding engine that the arguments name, or that the environment has a URL for."""
    engine = args.engine
    if engine == "auto":
        engine = "ollama" if environment.ollama_embed_url else "onnx"
    match engine:
        case "ollama":
            return EngineSpec(
                "deployments.embedding.ollama:OllamaEmbedder",
                {
                    "base_url": environment.ollama_embed_url,
                    "model": environment.ollama_embed_model,
                    "keep_alive": args.keep_alive,
                },
            )
        case "openai":
            return EngineSpec(
                "deployments.embedding.openai:OpenAIEmbedder",
                {
                    "base_url": environment.openai_base_url,
                    "model": environment.openai_embed_model,
                    "max_tokens": args.max_tokens,
                    "api_key_env": _openai_key_variable(environment),
                },
            )
        case _:
            return EngineSpec(
                "deployments.embedding.onnx:OnnxEmbedder",
                {
                    "cache_dir": str(environment.model_cache),
                    "precision": args.precision,
                    "threads": args.threads,
                },
            )


def generation_engine(args: GenerationArgs, environment: Environment) -> EngineSpec:
    """The language model that the arguments name, or that the environment has a URL for."""
    match _generation_kind(args, environment):
        case "openai":
            return EngineSpec(
                "deployments.generation.openai:OpenAIGenerator",
                {
                    "base_url": environment.openai_base_url,
                    "model": environment.openai_model,
                    "context_tokens": args.context_tokens,
                    "api_key_env": _openai_key_variable(environment),
                    "parallel": args.parallel,
                    "max_queued": args.queued,
                },
            )
        case "ollama":
            return EngineSpec(
                "deployments.generation.ollama:OllamaGenerator",
                {
                    "base_url": environment.ollama_llm_url,
                    "model": environment.ollama_llm_model,
                    "keep_alive": args.keep_alive,
                    "num_ctx": args.context_tokens,
                    "options": args.options,
                    "parallel": args.parallel,
                    "max_queued": args.queued,
                    "pull": args.pull,
                },
            )
        case "paced":
            return EngineSpec("deployments.generation.paced:PacedGenerator")
        case _:
            return EngineSpec(
                "deployments.generation.llama_cpp:LlamaCppGenerator",
                {
                    "model_path": args.model_path,
                    "context_tokens": args.context_tokens,
                    "parallel": args.parallel,
                    "max_queued": args.queued,
                    "threads": args.threads,
                },
            )


def _generation_kind(args: GenerationArgs, environment: Environment) -> str:
    if args.engine != "auto":
        return args.engine
    if environment.openai_base_url:
        return "openai"
    return "ollama" if environment.ollama_llm_url else "llama_cpp"


def _openai_key_variable(environment: Environment) -> str | None:
    """Where the key is, never the key itself; a server of one's own may want none."""
    return "OPENAI_API_KEY" if environment.openai_api_key.get_secret_value() else None


def reranking_engine(args: RagArgs, environment: Environment) -> EngineSpec:
    """A rerank endpoint, or MaxSim over the token vectors of an embedding engine of its own."""
    if args.reranking.engine == "http":
        if not environment.rerank_url:
            raise ConfigurationError(
                "The reranking engine is 'http': set RERANK_URL to its address."
            )
        return EngineSpec(
            "deployments.reranking.http:HttpReranker",
            {
                "url": environment.rerank_url,
                "style": args.reranking.style,
                "model": args.reranking.model,
            },
        )
    return EngineSpec(
        "deployments.reranking.maxsim:MaxSimReranker",
        {"embedder": embedding_engine(args.embedding, environment)},
    )


def resolved_query(args: RagArgs, environment: Environment) -> QueryArgs:
    """The query arguments with `auto` replaced by what suits the language model.

    The small embedded model answers from one sentence, is lost among passages, and now and then
    invents; a large one wants the passages and cites them by number.
    """
    embedded = _generation_kind(args.generation, environment) == "llama_cpp"
    small = embedded and args.generation.model_path is None
    suits = {
        "evidence": "sentences" if small else "passages",
        "ungrounded": "replace" if small else "flag",
    }
    return args.query.model_copy(
        update={name: suits[name] for name in suits if getattr(args.query, name) == "auto"}
    )


def _bind(deployment: Any, name: str, replicas: ReplicaArgs, *arguments: object) -> Application:
    """Bind a deployment under a name, with its share of the machine."""
    application: Application = deployment.options(
        name=name,
        num_replicas=replicas.replicas,
        max_ongoing_requests=replicas.max_ongoing_requests,
        max_queued_requests=replicas.max_queued_requests,
        backpressure_config=BackpressureConfig(status_code=503, retry_after_s=BUSY_RETRY_AFTER_S),
        graceful_shutdown_timeout_s=REQUEST_DRAIN_S,
        ray_actor_options={"num_cpus": replicas.cpus, "num_gpus": replicas.gpus},
    ).bind(*arguments)
    return application
