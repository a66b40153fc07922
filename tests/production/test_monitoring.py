"""Rules, alerts and dashboards ask for metrics that exist, in expressions that parse."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from production_files import ROOT, read

from deployments import metrics
from deployments.metrics import Metric

PROMETHEUS = ROOT / "docker" / "prometheus"
GRAFANA = ROOT / "docker" / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
OURS = {
    f"ray_{metric.name}": metric for metric in vars(metrics).values() if isinstance(metric, Metric)
}
NAME = re.compile(r"\bray_ragserve_[a-z_]+")
SELECTOR = re.compile(r"\b(ray_ragserve_[a-z_]+)\{([^}]*)\}")
MATCH = re.compile(r'(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"')
RECORDED = re.compile(r"\bragserve:[a-z_]+:[a-z0-9_]+")


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    found = shutil.which("promtool")
    if found is None and not os.environ.get("CI"):
        pytest.skip("promtool is not installed")
    assert found, "promtool is not installed"
    return subprocess.run([found, *arguments], capture_output=True, text=True, check=False)


def rules() -> list[dict[str, Any]]:
    files = sorted((PROMETHEUS / "rules").glob("*.yml"))
    return [rule for path in files for group in read(path)["groups"] for rule in group["rules"]]


def expressions() -> dict[str, str]:
    """Every expression there is, by where it stands."""
    found = {rule.get("record") or rule["alert"]: rule["expr"] for rule in rules()}
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                found[f"{path.stem}: {panel['title']} {target['refId']}"] = target["expr"]
    return found


def metric_of(name: str) -> Metric | None:
    """The metric that a series belongs to: a histogram has three kinds of them."""
    if name in OURS:
        return OURS[name] if OURS[name].kind != "histogram" else None
    base = OURS.get(re.sub(r"_(bucket|count|sum)$", "", name))
    return base if base is not None and base.kind == "histogram" else None


def test_the_scrape_configuration_and_every_rule_are_well_formed() -> None:
    checked = promtool("check", "config", PROMETHEUS / "prometheus.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_alert_speaks_when_it_must_and_is_silent_when_it_must_be() -> None:
    tested = promtool("test", "rules", Path(__file__).parent / "prometheus" / "alerts_test.yml")
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize("place", expressions())
def test_an_expression_asks_for_metrics_labels_and_values_that_exist(place: str) -> None:
    expression = expressions()[place]
    for name in NAME.findall(expression):
        assert metric_of(name) is not None, name
    for name, matchers in SELECTOR.findall(expression):
        metric = metric_of(name)
        assert metric
        for label, _, value in MATCH.findall(matchers):
            if label != "le":
                allowed = metric.labels[label]
                assert set(value.split("|")) <= {*allowed, metrics.OTHER}, (name, label, value)
            elif metric.buckets:
                pattern = re.compile(value.replace("\\\\", "\\"))
                assert [b for b in metric.buckets if pattern.fullmatch(str(b))], value


def test_what_is_recorded_is_all_that_is_asked_for_by_that_name() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    asked = {name for text in expressions().values() for name in RECORDED.findall(text)}
    assert asked <= recorded
    used_by_people = {"ragserve:request_seconds:p50", "ragserve:request_seconds:p99"}
    assert recorded - asked - used_by_people <= {"ragserve:stage_seconds:p99"}


def test_every_alert_says_how_urgent_it_is_and_what_to_do() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len(alerts) > 15
    for rule in alerts:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]


def test_every_metric_is_on_a_dashboard_or_in_an_alert() -> None:
    text = " ".join(expressions().values())
    assert [name for name in OURS if name not in text] == []


def test_the_dashboards_are_those_that_the_script_makes() -> None:
    made = runpy.run_path(str(GRAFANA / "make_dashboards.py"))
    names = [path.stem for path in DASHBOARDS]
    assert names == ["ingestion", "models", "overview", "query", "stores"]
    assert sorted(name.lower() for name in made["DASHBOARDS"]) == names
    for name in made["DASHBOARDS"]:
        path = GRAFANA / "dashboards" / f"{name.lower()}.json"
        assert path.read_text() == made["rendered"](name), f"run {GRAFANA / 'make_dashboards.py'}"


def test_panels_do_not_lie_over_each_other() -> None:
    for path in DASHBOARDS:
        seen: set[tuple[int, int]] = set()
        for panel in json.loads(path.read_text())["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & seen, (path.stem, panel["title"])
            seen |= cells
