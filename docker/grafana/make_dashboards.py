# ruff: noqa: INP001 - a script for who changes a dashboard, not a module
"""Writes the dashboards of docker/grafana/dashboards: rows of panels in, Grafana's JSON out.

python docker/grafana/make_dashboards.py
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "dashboards"
WIDTH = 24
HEIGHT = 8
SOURCE = {"type": "prometheus", "uid": "prometheus"}


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph or a number: its title, its unit, and expressions by the legend of each."""

    title: str
    unit: str
    expressions: dict[str, str]
    kind: str = "timeseries"


def rate(metric: str, by: str, window: str = "5m") -> str:
    """A counter's rate, summed over replicas."""
    return f"sum by ({by}) (rate(ray_{metric}[{window}]))"


def quantile(share: float, metric: str, by: str = "") -> str:
    """A quantile over all replicas, by a label."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate(ray_{metric}_bucket[5m])))"


def ratio(part: str, whole: str) -> str:
    """One sum of rates over another."""
    return f"sum(rate(ray_{part}[5m])) / sum(rate(ray_{whole}[5m]))"


DASHBOARDS: dict[str, list[Panel]] = {
    "Overview": [
        Panel(
            "Answers without an error, 30 min",
            "percentunit",
            {"good": "1 - ragserve:availability_errors:ratio_rate30m"},
            "stat",
        ),
        Panel(
            "Answers within 2 s, 30 min",
            "percentunit",
            {"good": "1 - ragserve:slow_answers:ratio_rate30m"},
            "stat",
        ),
        Panel(
            "Alerts", "none", {"firing": 'count(ALERTS{alertstate="firing"}) or vector(0)'}, "stat"
        ),
        Panel("In flight", "none", {"now": "sum(ray_ragserve_requests_in_flight)"}, "stat"),
        Panel("Requests", "reqps", {"{{route}} {{status}}": "ragserve:requests:rate5m"}),
        Panel("p95 by route", "s", {"{{route}}": "ragserve:request_seconds:p95"}),
        Panel("Refused", "reqps", {"{{reason}}": "ragserve:rejected:rate5m"}),
        Panel("Lower rungs", "percentunit", {"{{rung}}": "ragserve:degraded:ratio_rate5m"}),
        Panel(
            "Breakers (0 closed, 1 half open, 2 open)",
            "none",
            {"{{dependency}}": "max by (dependency) (ray_ragserve_breaker_state)"},
        ),
        Panel(
            "Replicas that are well",
            "none",
            {"{{deployment}}": "sum by (deployment) (ray_serve_deployment_replica_healthy)"},
        ),
    ],
    "Query": [
        Panel("Questions", "reqps", {"{{finish}}": rate("ragserve_answers_total", "finish")}),
        Panel(
            "Answer time",
            "s",
            {
                "p50": quantile(0.5, "ragserve_request_seconds"),
                "p95": quantile(0.95, "ragserve_request_seconds"),
                "p99": quantile(0.99, "ragserve_request_seconds"),
            },
        ),
        Panel("Stages, p50", "s", {"{{stage}}": "ragserve:stage_seconds:p50"}),
        Panel("Stages, p95", "s", {"{{stage}}": "ragserve:stage_seconds:p95"}),
        Panel(
            "Kept answers used",
            "percentunit",
            {
                "hits": ratio(
                    'ragserve_answer_cache_lookups_total{result="hit"}',
                    "ragserve_answer_cache_lookups_total",
                )
            },
        ),
        Panel(
            "How well answers are supported, median",
            "percentunit",
            {"score": quantile(0.5, "ragserve_grounding_score")},
        ),
        Panel(
            "Not in the documents",
            "percentunit",
            {
                "not found": ratio(
                    'ragserve_answers_total{finish="not_found"}', "ragserve_answers_total"
                )
            },
        ),
        Panel("Tokens", "none", {"{{kind}}": rate("ragserve_tokens_total", "kind")}),
    ],
    "Ingestion": [
        Panel(
            "Jobs waiting or under way", "none", {"jobs": "max(ray_ragserve_ingestion_queue_depth)"}
        ),
        Panel("Files", "none", {"{{outcome}}": rate("ragserve_files_total", "outcome")}),
        Panel(
            "From submission to end, p50 and p95",
            "s",
            {
                "p50": quantile(0.5, "ragserve_job_age_seconds"),
                "p95": quantile(0.95, "ragserve_job_age_seconds"),
            },
        ),
        Panel(
            "Wait for a supervisor, p95", "s", {"p95": quantile(0.95, "ragserve_job_wait_seconds")}
        ),
        Panel(
            "Jobs ended",
            "none",
            {"{{state}}": "sum by (state) (rate(ray_ragserve_job_age_seconds_count[5m]))"},
        ),
        Panel(
            "Texts embedded", "none", {"{{lane}}": rate("ragserve_embedded_texts_total", "lane")}
        ),
    ],
    "Models": [
        Panel(
            "Embedding time, p95",
            "s",
            {"{{lane}}": quantile(0.95, "ragserve_embed_seconds", "lane")},
        ),
        Panel(
            "Generation time, p95",
            "s",
            {"{{outcome}}": quantile(0.95, "ragserve_generation_seconds", "outcome")},
        ),
        Panel(
            "Tokens generated",
            "none",
            {"{{kind}}": rate("ragserve_generation_tokens_total", "kind")},
        ),
        Panel(
            "Requests at replicas",
            "none",
            {"{{deployment}}": "sum by (deployment) (ray_serve_replica_processing_queries)"},
        ),
        Panel(
            "Waiting for a replica",
            "none",
            {"{{deployment}}": "sum by (deployment) (ray_serve_deployment_queued_queries)"},
        ),
        Panel(
            "Event loop held up, p99",
            "ms",
            {
                "{{deployment}}": "histogram_quantile(0.99, sum by (deployment, le) "
                "(rate(ray_serve_event_loop_scheduling_latency_ms_bucket[5m])))"
            },
        ),
        Panel("Memory of the nodes", "bytes", {"{{instance}}": "ray_node_mem_used"}),
        Panel("Processors of the nodes", "percent", {"{{instance}}": "ray_node_cpu_utilization"}),
        Panel("GPUs", "percent", {"{{instance}}": "ray_node_gpus_utilization"}),
    ],
    "Stores": [
        Panel(
            "Calls",
            "reqps",
            {
                "{{dependency}} {{outcome}}": rate(
                    "ragserve_dependency_calls_total", "dependency, outcome"
                )
            },
        ),
        Panel(
            "Calls that fail",
            "percentunit",
            {"{{dependency}}": "ragserve:dependency_failures:ratio_rate5m"},
        ),
        Panel("Search, p95", "s", {"{{stage}}": 'ragserve:stage_seconds:p95{stage="search"}'}),
        Panel(
            "Breakers opened",
            "none",
            {
                "{{dependency}}": "sum by (dependency) "
                "(increase(ray_ragserve_breaker_opened_total[1h]))"
            },
        ),
        Panel("Retries", "none", {"{{outcome}}": rate("ragserve_retries_total", "outcome")}),
        Panel(
            "Lookups of kept answers",
            "none",
            {"{{result}}": rate("ragserve_answer_cache_lookups_total", "result")},
        ),
        Panel("Disks", "percent", {"{{instance}}": "ray_node_disk_utilization_percentage"}),
        Panel("Targets that answer", "none", {"{{job}} {{instance}}": "up"}),
    ],
}


def dashboard(title: str, panels: list[Panel]) -> dict[str, Any]:
    """Grafana's JSON of a dashboard."""
    placed, left, top = [], 0, 0
    for number, panel in enumerate(panels, start=1):
        width = WIDTH // 4 if panel.kind == "stat" else WIDTH // 2
        height = HEIGHT // 2 if panel.kind == "stat" else HEIGHT
        if left + width > WIDTH:
            left, top = 0, top + HEIGHT
        placed.append(_panel(number, panel, {"x": left, "y": top, "w": width, "h": height}))
        left += width
    return {
        "uid": f"ragserve-{title.lower()}",
        "title": f"ragserve: {title.lower()}",
        "tags": ["ragserve"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "panels": placed,
    }


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": SOURCE,
                "expr": expression,
                "legendFormat": legend,
            }
            for index, (legend, expression) in enumerate(panel.expressions.items())
        ],
    }


def rendered(title: str) -> str:
    """What the file of a dashboard holds."""
    return json.dumps(dashboard(title, DASHBOARDS[title]), indent=1) + "\n"


if __name__ == "__main__":
    for name in DASHBOARDS:
        (FOLDER / f"{name.lower()}.json").write_text(rendered(name))
