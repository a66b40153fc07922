"""Puts the breakers in front of the parts, on the replica that will use them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from deployments.errors import (
    EmbeddingUnavailable,
    GenerationUnavailable,
    RerankUnavailable,
    StateUnavailable,
    StoreUnavailable,
)
from deployments.metrics import Metrics
from deployments.resilience.breakers import Breaker, BreakerPolicy
from deployments.resilience.guarded import Patience
from serve_app.settings import ResilienceArgs


@dataclass(frozen=True, slots=True)
class Breakers:
    """One a dependency, for one replica: each finds out for itself, and within seconds."""

    embedding: Breaker
    generation: Breaker
    reranker: Breaker
    milvus: Breaker
    redis: Breaker
    redis_cache: Breaker

    @property
    def by_name(self) -> Mapping[str, Breaker]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def breakers(args: ResilienceArgs, metrics: Metrics) -> Breakers:
    """Closed ones, by the operator's policy."""
    policy = BreakerPolicy(
        error_ratio=args.error_ratio,
        min_calls=args.min_calls,
        window_s=args.window_s,
        open_s=args.open_s,
    )
    failures = {
        "embedding": EmbeddingUnavailable,
        "generation": GenerationUnavailable,
        "reranker": RerankUnavailable,
        "milvus": StoreUnavailable,
        "redis": StateUnavailable,
        "redis_cache": StateUnavailable,
    }
    return Breakers(
        **{
            name: Breaker(name, failure, policy, metrics=metrics)
            for name, failure in failures.items()
        }
    )


def patience(args: ResilienceArgs) -> Patience:
    """How long each dependency may take."""
    return Patience(
        embed_s=args.embed_timeout_s,
        first_token_s=args.first_token_timeout_s,
        token_gap_s=args.token_gap_timeout_s,
    )
