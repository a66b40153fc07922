"""Every metric, named once, and the port through which they are counted.

Prometheus' conventions: a name starts with `ragserve_`, units are seconds or bytes, counters end
in `_total`. (Ray's agents put `ray_` in front of all of them.) A label takes one of the values
that its metric lists; any other is counted as `other`, so that no caller can make the number of
time series grow.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

OTHER = "other"
Kind = Literal["counter", "gauge", "histogram"]
Labels = tuple[tuple[str, str], ...]

DEPENDENCIES = ("embedding", "generation", "reranker", "milvus", "redis", "redis_cache")
STAGES = ("queue", "embed", "search", "rerank", "select", "first_token", "generate", "ground")
RUNGS = (
    "state_stale",
    "lexical_only",
    "rerank_skipped",
    "extractive",
    "ungrounded",
    "uncached",
    "local_limits",
)
# Two milliseconds for a lookup, a minute for an answer by a small machine.
SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
SCORES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
JOB_SECONDS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
BATCHES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 512.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its name, what it tells, and the values that each of its labels may take."""

    name: str
    kind: Kind
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()

    def bounded(self, labels: Mapping[str, str]) -> dict[str, str]:
        """The labels with every value that is not foreseen replaced.

        Raises:
            KeyError: a label of this metric is missing.
        """
        return {
            label: value if (value := labels[label]) in allowed else OTHER
            for label, allowed in self.labels.items()
        }

    @property
    def most_series(self) -> int:
        """How many time series one process can make of it."""
        size = 1
        for allowed in self.labels.values():
            size *= len(allowed) + 1
        return size

    def __hash__(self) -> int:
        return hash(self.name)


REQUESTS = Metric(
    "ragserve_requests_total",
    "counter",
    "Requests answered, by route and status class.",
    {
        "route": ("query", "search", "chat", "embeddings", "documents", "collections", "jobs"),
        "status": ("2xx", "4xx", "5xx"),
    },
)
REQUEST_SECONDS = Metric(
    "ragserve_request_seconds",
    "histogram",
    "From the first byte of a request to the last of its answer.",
    {"route": REQUESTS.labels["route"]},
    SECONDS,
)
REJECTED = Metric(
    "ragserve_rejected_total",
    "counter",
    "Requests refused, by the problem's code.",
    {
        "reason": (
            "unauthenticated",
            "forbidden",
            "rate_limited",
            "overloaded",
            "queue_full",
            "too_large",
            "deadline_exceeded",
            "invalid_request",
            "embedding_unavailable",
            "generation_unavailable",
            "rerank_unavailable",
            "store_unavailable",
            "state_unavailable",
        )
    },
)
IN_FLIGHT = Metric("ragserve_requests_in_flight", "gauge", "Requests being answered now.")
STAGE_SECONDS = Metric(
    "ragserve_stage_seconds",
    "histogram",
    "What each stage of a question took.",
    {"stage": STAGES},
    SECONDS,
)
ANSWERS = Metric(
    "ragserve_answers_total",
    "counter",
    "Answers given, by how they ended.",
    {"finish": ("stop", "length", "extract", "not_found")},
)
TOKENS = Metric(
    "ragserve_tokens_total",
    "counter",
    "Tokens of the language model, by its own count.",
    {"kind": ("prompt", "completion")},
)
GROUNDING = Metric(
    "ragserve_grounding_score",
    "histogram",
    "How well the sentences of an answer are supported (0 to 1).",
    {},
    SCORES,
)
CACHE_LOOKUPS = Metric(
    "ragserve_answer_cache_lookups_total",
    "counter",
    "Lookups of kept answers.",
    {"result": ("hit", "miss", "failed")},
)
DEGRADED = Metric(
    "ragserve_degraded_total",
    "counter",
    "Requests served from a lower rung of the ladder.",
    {"rung": RUNGS},
)
BREAKER_STATE = Metric(
    "ragserve_breaker_state",
    "gauge",
    "0 closed, 1 half open, 2 open.",
    {"dependency": DEPENDENCIES},
)
BREAKER_OPENED = Metric(
    "ragserve_breaker_opened_total",
    "counter",
    "How often a dependency was given up on for a while.",
    {"dependency": DEPENDENCIES},
)
DEPENDENCY_CALLS = Metric(
    "ragserve_dependency_calls_total",
    "counter",
    "Calls of a dependency: answered, failed, or refused by its open breaker.",
    {"dependency": DEPENDENCIES, "outcome": ("ok", "failed", "refused", "neither")},
)
RETRIES = Metric(
    "ragserve_retries_total",
    "counter",
    "Failed calls: tried again, or given up because the budget for retries was used up.",
    {"outcome": ("retried", "over_budget")},
)
EMBEDDED_TEXTS = Metric(
    "ragserve_embedded_texts_total",
    "counter",
    "Texts turned into vectors.",
    {"lane": ("query", "ingestion")},
)
EMBED_SECONDS = Metric(
    "ragserve_embed_seconds",
    "histogram",
    "What one call of the embedding engine took, waiting for its batch included.",
    {"lane": ("query", "ingestion")},
    SECONDS,
)
GENERATION_SECONDS = Metric(
    "ragserve_generation_seconds",
    "histogram",
    "From a call of the generation engine to its last token, by how it ended.",
    {"outcome": ("done", "failed", "left")},
    SECONDS,
)
GENERATION_TOKENS = Metric(
    "ragserve_generation_tokens_total",
    "counter",
    "Tokens computed by the replicas of the language model.",
    {"kind": ("prompt", "completion")},
)
QUEUE_DEPTH = Metric(
    "ragserve_ingestion_queue_depth", "gauge", "Jobs waiting or being worked on, of all replicas."
)
JOB_AGE_SECONDS = Metric(
    "ragserve_job_age_seconds",
    "histogram",
    "From a job's submission to its end, by its last state.",
    {"state": ("COMPLETED", "FAILED", "CANCELLED")},
    JOB_SECONDS,
)
JOB_WAIT_SECONDS = Metric(
    "ragserve_job_wait_seconds",
    "histogram",
    "From a job's submission to its first start.",
    {},
    JOB_SECONDS,
)
FILES = Metric(
    "ragserve_files_total",
    "counter",
    "Files of ended jobs, by what became of them.",
    {"outcome": ("done", "failed")},
)

ALL: tuple[Metric, ...] = tuple(value for value in globals().values() if isinstance(value, Metric))


class Metrics(Protocol):
    """Where things are counted. No method raises for a service that is out, or waits."""

    def count(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        """Add `amount` (0 changes nothing) to a counter."""
        ...

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Put a value into a histogram."""
        ...

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """Say what a gauge shows from now on."""
        ...


class Uncounted:
    """Counts nothing: for parts that stand outside of any service."""

    def count(self, metric: Metric, amount: float = 1, **labels: str) -> None: ...

    def observe(self, metric: Metric, value: float, **labels: str) -> None: ...

    def set(self, metric: Metric, value: float, **labels: str) -> None: ...


UNCOUNTED = Uncounted()


class MemoryMetrics:
    """The in-memory twin: `value` is a counter's sum or a gauge, `values` a histogram's."""

    def __init__(self) -> None:
        self._numbers: Counter[tuple[Metric, Labels]] = Counter()
        self._observed: defaultdict[tuple[Metric, Labels], list[float]] = defaultdict(list)

    def count(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        self._numbers[_series(metric, labels)] += amount  # type: ignore[assignment]

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        self._observed[_series(metric, labels)].append(value)

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        self._numbers[_series(metric, labels)] = value  # type: ignore[assignment]

    def value(self, metric: Metric, **labels: str) -> float:
        return self._numbers[_series(metric, labels)]

    def values(self, metric: Metric, **labels: str) -> list[float]:
        return list(self._observed[_series(metric, labels)])

    def series(self) -> Iterator[tuple[Metric, Labels]]:
        """Everything that was ever counted, observed or set."""
        yield from self._numbers
        yield from self._observed


def _series(metric: Metric, labels: Mapping[str, str]) -> tuple[Metric, Labels]:
    return metric, tuple(sorted(metric.bounded(labels).items()))
