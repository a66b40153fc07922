"""Puts the parts behind the HTTP API together, on the replica that will use them."""

from __future__ import annotations

from collections.abc import Mapping

from deployments.contracts.embedding import Embedder
from deployments.contracts.generation import Generator
from deployments.contracts.limits import RateLimit
from deployments.contracts.reranking import Reranker
from deployments.environment import Environment
from deployments.ingestion.blobs import BlobStore
from deployments.ingestion.source_policy import SourcePolicy
from deployments.ingestion.sources import Sources
from deployments.query.pipeline import QueryPipeline
from deployments.query.settings import QuerySettings
from deployments.retrieval.milvus import MilvusStore
from deployments.state.api_keys import ApiKeyStore
from deployments.state.cache import RedisCache
from deployments.state.connection import connect, ping
from deployments.state.jobs import RedisJobStore
from deployments.state.limits import RedisRateLimiter
from deployments.state.policies import JobLimits
from deployments.state.visibility import RedisVisibility
from serve_app.auth.authenticator import Authenticator
from serve_app.dependencies import Dependencies, Ping
from serve_app.holdings import Holdings
from serve_app.services import Services
from serve_app.settings import LimitArgs, QueryArgs, RagArgs


def assemble(
    args: RagArgs,
    environment: Environment,
    *,
    embedder: Embedder,
    generator: Generator,
    reranker: Reranker | None = None,
    pings: Mapping[str, Ping] | None = None,
) -> Services:
    """The services of one ingress replica, on real parts. Connects to nothing yet.

    `pings` ask the models' replicas whether they answer; the stores are asked in any case.
    """
    state = connect(environment.redis_url.get_secret_value())
    cache = connect(environment.cache_url, decode=False)
    cache_text = connect(environment.cache_url)
    store = MilvusStore(environment.milvus_uri, environment.milvus_token.get_secret_value())
    visibility = RedisVisibility(state)
    return Services(
        args=args,
        authenticator=Authenticator(
            ApiKeyStore(state, environment.api_key_pepper.get_secret_value().encode())
        ),
        # The limits live where no write waits for the disk; a counter in use is not evicted.
        limiter=RedisRateLimiter(cache_text, _rates(args.limits)),
        embedder=embedder,
        generator=generator,
        store=store,
        visibility=visibility,
        holdings=Holdings(store, visibility),
        jobs=RedisJobStore(state, limits=JobLimits(max_queued_jobs=args.uploads.max_queued_jobs)),
        blobs=BlobStore(environment.blob_url),
        pipeline=QueryPipeline(
            embedder,
            store,
            visibility,
            generator,
            reranker=reranker,
            cache=RedisCache(cache),
            settings=_query_settings(args.query),
        ),
        dependencies=Dependencies(
            {"redis": lambda: ping(state), "milvus": store.ping, **(pings or {})}
        ),
        sources=Sources(_source_policy(args)),
    )


def _query_settings(args: QueryArgs) -> QuerySettings:
    return QuerySettings(
        top_k=args.top_k,
        candidates=args.candidates,
        lexical_weight=args.lexical_weight,
        evidence="passages" if args.evidence == "auto" else args.evidence,
        ungrounded="flag" if args.ungrounded == "auto" else args.ungrounded,
        deadline_s=args.deadline_s,
        answer_ttl_s=args.answer_cache_ttl_s,
    )


def _source_policy(args: RagArgs) -> SourcePolicy:
    return SourcePolicy(
        roots=args.sources.roots,
        web=args.sources.web,
        private_networks=args.sources.private_networks,
        ports=args.sources.ports,
        max_files=args.sources.max_files,
        max_file_bytes=args.uploads.max_file_bytes,
        timeout_s=args.sources.file_timeout_s,
    )


def _rates(limits: LimitArgs) -> dict[str, RateLimit]:
    return {
        "generation": RateLimit(limits.generation_per_minute, 60),
        "search": RateLimit(limits.search_per_minute, 60),
        "ingestion": RateLimit(limits.ingestion_per_minute, 60),
    }
