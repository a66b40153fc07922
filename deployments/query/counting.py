"""What questions cost and how they ended, as metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deployments.contracts.query import Answer, SearchResult
from deployments.metrics import (
    ANSWERS,
    DEGRADED,
    GROUNDING,
    STAGE_SECONDS,
    TOKENS,
    Metrics,
)


class QueryCounts:
    """Counts once a question, after its end, so that no stage waits for it."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def found(self, result: SearchResult) -> None:
        """A search has ended."""
        self._stages(result.timings_ms)
        self._degraded(result.degraded)

    def answered(self, answer: Answer) -> None:
        """An answer is out; a kept or a shared one costs no tokens again."""
        metrics = self._metrics
        metrics.count(ANSWERS, finish=answer.finish_reason)
        self._stages(answer.timings_ms)
        self._degraded(answer.degraded)
        if answer.cached:
            return
        metrics.count(TOKENS, answer.usage.prompt_tokens, kind="prompt")
        metrics.count(TOKENS, answer.usage.completion_tokens, kind="completion")
        if answer.answered:
            metrics.observe(GROUNDING, answer.grounding_score)

    def _stages(self, timings_ms: Mapping[str, float]) -> None:
        for stage, ms in timings_ms.items():
            if stage != "total":  # which the request's own metric tells
                self._metrics.observe(STAGE_SECONDS, ms / 1000, stage=stage)

    def _degraded(self, rungs: Sequence[str]) -> None:
        for rung in rungs:
            self._metrics.count(DEGRADED, rung=rung)
