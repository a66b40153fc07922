"""The names of the metrics, their bounds, and what a request adds to them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from api.desk import QUESTION, Desk

from deployments import metrics
from deployments.metrics import (
    ALL,
    ANSWERS,
    CACHE_LOOKUPS,
    DEGRADED,
    IN_FLIGHT,
    OTHER,
    REJECTED,
    REQUEST_SECONDS,
    REQUESTS,
    STAGE_SECONDS,
    TOKENS,
    MemoryMetrics,
    Metric,
)
from deployments.ray_metrics import RayMetrics
from serve_app.request_metrics import route_of
from serve_app.services import Services

MOST_SERIES = 40
"""Of one metric and process: with a hundred processes no Prometheus minds."""


def test_metrics_are_named_as_prometheus_wants_them() -> None:
    names = [metric.name for metric in ALL]
    assert len(set(names)) == len(names) >= 20
    for metric in ALL:
        assert re.fullmatch(r"ragserve_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert bool(metric.buckets) == (metric.kind == "histogram"), metric.name
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert metric.help.endswith(".")
        assert not re.search(r"_(ms|minutes|kb|mb)(_|$)", metric.name)


def test_every_metric_is_documented() -> None:
    text = (Path(__file__).parents[1] / "docs" / "resilience.md").read_text()
    named = set(re.findall(r"^\| `(ragserve_[a-z_]+)` \|", text, re.MULTILINE))
    assert named == {metric.name for metric in ALL}


def test_no_caller_can_make_series_without_end() -> None:
    assert max(metric.most_series for metric in ALL) <= MOST_SERIES
    counted = MemoryMetrics()
    for n in range(1000):
        counted.count(REQUESTS, route=f"route{n}", status=f"status{n}")
        counted.count(REJECTED, reason=f"reason {n}")
    assert counted.value(REQUESTS, route=OTHER, status=OTHER) == 1000
    assert len(list(counted.series())) <= 4


def test_a_label_that_is_missing_is_an_error() -> None:
    with pytest.raises(KeyError):
        MemoryMetrics().count(REQUESTS, route="query")


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/query", "query"),
        ("/internal/v1/query", "query"),
        ("/v1/chat/completions", "chat"),
        ("/v1/collections", "collections"),
        ("/v1/collections/handbook", "collections"),
        ("/v1/collections/handbook/documents", "documents"),
        ("/v1/jobs/42/events", "jobs"),
        ("/health", "other"),
        ("/", "other"),
    ],
)
def test_routes_are_told_apart_by_kind(path: str, route: str) -> None:
    assert route_of(path) == route


class Counted(Desk):
    """A desk whose requests are counted."""

    def services(self) -> Services:
        self.counted = MemoryMetrics()
        return replace(super().services(), metrics=self.counted)


@pytest.fixture
async def desk(tmp_path: Path) -> Counted:
    made = Counted(tmp_path)
    await made.furnish()
    return made


async def test_requests_are_counted_by_route_and_end(desk: Counted) -> None:
    body = {"collection": "handbook", "question": QUESTION}
    async with desk.client() as root, desk.client(None) as stranger:
        assert (await root.post("/v1/query", json=body)).status_code == 200
        assert (await root.post("/v1/query", json={"question": 1})).status_code == 422
        assert (await stranger.post("/v1/query", json=body)).status_code == 401
        assert (await stranger.get("/health")).status_code == 200
    counted = desk.counted
    assert counted.value(REQUESTS, route="query", status="2xx") == 1
    assert counted.value(REQUESTS, route="query", status="4xx") == 2
    assert counted.value(REQUESTS, route="other", status="2xx") == 1
    assert counted.value(REJECTED, reason="unauthenticated") == 1
    assert counted.value(REJECTED, reason="invalid_request") == 1
    assert len(counted.values(REQUEST_SECONDS, route="query")) == 3
    assert counted.value(IN_FLIGHT) == 0


async def test_an_error_in_openais_shape_is_counted_by_our_own_code(desk: Counted) -> None:
    async with desk.client() as root:
        answer = await root.post("/v1/chat/completions", json={"model": "rag:x", "messages": []})
    assert answer.status_code == 400, answer.text
    assert desk.counted.value(REJECTED, reason="invalid_request") == 1


def test_counting_a_whole_request_costs_less_than_a_fifth_of_a_millisecond() -> None:
    counted = RayMetrics()

    def request() -> None:
        for count in (1, 2):
            counted.set(IN_FLIGHT, count)
        for stage in metrics.STAGES:
            counted.observe(STAGE_SECONDS, 0.01, stage=stage)
        counted.count(ANSWERS, finish="stop")
        counted.count(CACHE_LOOKUPS, result="miss")
        counted.count(TOKENS, 10, kind="prompt")
        counted.count(TOKENS, 10, kind="completion")
        counted.count(DEGRADED, rung="uncached")
        counted.count(REQUESTS, route="query", status="2xx")
        counted.observe(REQUEST_SECONDS, 0.1, route="query")
        for _ in range(6):
            counted.count(metrics.DEPENDENCY_CALLS, dependency="milvus", outcome="ok")

    request()
    best_s = min(_timed(request) for _ in range(50))
    assert best_s < 0.0002


def _timed(request: Callable[[], None]) -> float:
    started = time.perf_counter()
    request()
    return time.perf_counter() - started


def test_every_metric_can_be_made_by_ray() -> None:
    counted = RayMetrics()
    for metric in ALL:
        labels = {label: values[0] for label, values in metric.labels.items()}
        _use(counted, metric, labels)


def _use(counted: RayMetrics, metric: Metric, labels: dict[str, str]) -> None:
    match metric.kind:
        case "counter":
            counted.count(metric, 0, **labels)
            counted.count(metric, 1, **labels)
        case "gauge":
            counted.set(metric, 1, **labels)
        case "histogram":
            counted.observe(metric, 0.5, **labels)
