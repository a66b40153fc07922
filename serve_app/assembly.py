"""Puts the parts behind the HTTP API together, on the replica that will use them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from deployments.contracts.embedding import Embedder
from deployments.contracts.generation import Generator
from deployments.contracts.reranking import Reranker
from deployments.environment import Environment
from deployments.ingestion.blobs import BlobStore
from deployments.ingestion.source_policy import SourcePolicy
from deployments.ingestion.sources import Sources
from deployments.metrics import UNCOUNTED, Metrics
from deployments.query.pipeline import QueryPipeline
from deployments.query.settings import QuerySettings
from deployments.resilience.guarded import (
    GuardedEmbedder,
    GuardedGenerator,
    GuardedReranker,
    guarded,
)
from deployments.resilience.retries import Retry, RetryBudget
from deployments.retrieval.milvus import MilvusStore
from deployments.state.api_keys import ApiKeyStore
from deployments.state.cache import RedisCache
from deployments.state.connection import connect, ping
from deployments.state.jobs import RedisJobStore
from deployments.state.limits import RedisRateLimiter
from deployments.state.outage import Outage
from deployments.state.policies import JobLimits
from deployments.state.visibility import RedisVisibility
from serve_app.audit import AuditLog
from serve_app.auth.authenticator import Authenticator
from serve_app.auth.claims import ClaimNames
from serve_app.auth.key_set import FILE_FRESH_S, KeySet, from_file, from_url
from serve_app.auth.peers import Peers
from serve_app.auth.tokens import TokenPolicy, TokenVerifier
from serve_app.dependencies import Dependencies, Ping
from serve_app.guarding import breakers, patience
from serve_app.holdings import Holdings
from serve_app.services import Services
from serve_app.settings import AuthArgs, QueryArgs, RagArgs, RerankingArgs


def assemble(
    args: RagArgs,
    environment: Environment,
    *,
    embedder: Embedder,
    generator: Generator,
    reranker: Reranker | None = None,
    pings: Mapping[str, Ping] | None = None,
    metrics: Metrics = UNCOUNTED,
) -> Services:
    """The services of one ingress replica, on real parts. Connects to nothing yet.

    `pings` ask the models' replicas whether they answer; the stores are asked in any case.
    """
    guards, limits = breakers(args.resilience, metrics), patience(args.resilience)
    embedder = GuardedEmbedder(embedder, guards.embedding, limits)
    generator = GuardedGenerator(generator, guards.generation, limits)
    if reranker is not None:
        reranker = GuardedReranker(reranker, guards.reranker, limits)
    state = connect(environment.state_url)
    cache = connect(environment.cache_url, decode=False)
    cache_text = connect(environment.cache_url)
    store = guarded(
        MilvusStore(environment.milvus_uri, environment.milvus_token.get_secret_value()),
        guards.milvus,
    )
    visibility = RedisVisibility(state, outage=Outage(breaker=guards.redis))
    keys = ApiKeyStore(
        state,
        environment.api_key_pepper.get_secret_value().encode(),
        outage=Outage(breaker=guards.redis),
    )
    return Services(
        args=args,
        authenticator=Authenticator(keys, _tokens(args.auth, environment), _peers(environment)),
        keys=keys,
        audit=AuditLog(environment.audit_log),
        # The limits live where no write waits for the disk; a counter in use is not evicted.
        limiter=RedisRateLimiter(
            cache_text,
            args.limits.rates(),
            outage=Outage(breaker=guards.redis_cache),
            metrics=metrics,
        ),
        embedder=embedder,
        generator=generator,
        store=store,
        visibility=visibility,
        holdings=Holdings(store, visibility),
        jobs=guarded(
            RedisJobStore(state, limits=JobLimits(max_queued_jobs=args.uploads.max_queued_jobs)),
            guards.redis,
        ),
        blobs=BlobStore(environment.blob_url),
        pipeline=QueryPipeline(
            embedder,
            store,
            visibility,
            generator,
            reranker=reranker,
            cache=RedisCache(cache, outage=Outage(breaker=guards.redis_cache), metrics=metrics),
            metrics=metrics,
            retry=Retry(budget=RetryBudget(args.resilience.retry_ratio, metrics=metrics)),
            settings=_query_settings(args.query, args.reranking),
        ),
        dependencies=Dependencies(
            {
                "redis": lambda: ping(state),
                "redis_cache": lambda: ping(cache_text),
                "milvus": store.ping,
                **(pings or {}),
            },
            breakers=guards.by_name,
        ),
        sources=Sources(_source_policy(args)),
        metrics=metrics,
        drain_file=environment.drain_file,
    )


def _query_settings(args: QueryArgs, reranking: RerankingArgs) -> QuerySettings:
    usual_weight = 0.5 if reranking.engine == "maxsim" else 1.0
    return QuerySettings(
        top_k=args.top_k,
        candidates=args.candidates,
        lexical_weight=args.lexical_weight,
        rerank_candidates=reranking.candidates,
        rerank_weight=usual_weight if reranking.weight is None else reranking.weight,
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


def _tokens(auth: AuthArgs, environment: Environment) -> TokenVerifier:
    """Who checks tokens: with the shared secret, with an issuer's keys, or with neither."""
    keys = None
    if auth.jwks_url:
        keys = KeySet(from_url(auth.jwks_url))
    elif auth.jwks_file:
        keys = KeySet(from_file(Path(auth.jwks_file)), fresh_s=FILE_FRESH_S)
    claims = ClaimNames(auth.scopes_claim, auth.collections_claim, auth.writable_claim)
    policy = TokenPolicy(auth.issuer, auth.audience, auth.leeway_s, claims)
    return TokenVerifier(policy, environment.jwt_secret_key.get_secret_value().encode(), keys)


def _peers(environment: Environment) -> Peers:
    return Peers(
        [
            environment.inter_service_secret.get_secret_value(),
            environment.inter_service_secret_previous.get_secret_value(),
        ]
    )
