"""What is refused before Serve is asked, and what `ragserve scale` changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from release_desk import Desk, config

from serve_app.releases.scaling import scaled
from serve_app.releases.state import ReleaseRefused
from serve_app.releases.validation import read_config

RAY_CONFIG = Path(__file__).parents[2] / "ray_config"


@pytest.mark.parametrize(
    "path", sorted(RAY_CONFIG.glob("serve*.yaml")), ids=lambda path: str(path.name)
)
def test_every_configuration_of_ours_is_found_usable(path: Path) -> None:
    assert read_config(path)["applications"]


def test_every_problem_of_the_arguments_is_named_at_once(tmp_path: Path) -> None:
    wrong = config(query={"top_k": 0}, surprise=1)
    wrong["applications"][0]["args"] = {"engine": "magic"}
    wrong["applications"].append({"name": "x", "import_path": "serve_app.build:nothing"})
    wrong["applications"][-1]["route_prefix"] = None
    (tmp_path / "serve.yaml").write_text(yaml.safe_dump(wrong))
    with pytest.raises(ReleaseRefused) as refused:
        read_config(tmp_path / "serve.yaml")
    for problem in ("query.top_k", "surprise", "embedding: engine", "serve_app.build:nothing"):
        assert problem in str(refused.value)


@pytest.mark.parametrize("text", ["[", "a: 1", "applications: []", "just words"])
def test_what_is_no_configuration_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "serve.yaml").write_text(text)
    with pytest.raises(ReleaseRefused):
        read_config(tmp_path / "serve.yaml")


def test_a_fixed_number_of_replicas_is_changed_without_a_restart(desk: Desk) -> None:
    desk.rollout().release(config())
    before = desk.pids()["rag"]
    desk.serve.apply(scaled(desk.serve.applications(), "Ingress", 4))
    assert len(desk.pids()["rag"]) == 4
    assert before < desk.pids()["rag"]


def test_what_scales_by_itself_gets_a_floor_and_where_needed_a_ceiling(desk: Desk) -> None:
    desk.rollout().release(config())
    changed = scaled(desk.serve.applications(), "embedding/Embedding", 5)
    scaling = changed["applications"][0]["deployments"][0]["autoscaling_config"]
    assert scaling == {"min_replicas": 5, "max_replicas": 5}


def test_a_deployment_that_the_configuration_did_not_mention_is_added(desk: Desk) -> None:
    unmentioned = config()
    desk.rollout().release(unmentioned)
    running = dict(desk.serve.applications())
    assert running["rag"].config
    del running["rag"].config["deployments"]
    changed = scaled(running, "Ingress", 3)
    assert changed["applications"][1]["deployments"] == [{"name": "Ingress", "num_replicas": 3}]


def test_a_name_that_is_nobodys_is_refused_with_those_there_are(desk: Desk) -> None:
    desk.rollout().release(config())
    with pytest.raises(ReleaseRefused, match=r"embedding/Embedding, rag/Ingress"):
        scaled(desk.serve.applications(), "Generation", 2)
