"""The production configurations say what they must: nothing goes down for a release."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from production_files import PROFILES, RAY_CONFIG, deployments, read, schema
from ray.serve.config import AutoscalingConfig

from deployments.ingestion.autoscaling import QUEUED_JOBS, SupervisorsForQueue
from deployments.ingestion.deployment import IngestionSupervisor

PEPPER = "pepper-" * 6
by_profile = pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.name)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY_PEPPER", PEPPER)
    for name in ("OLLAMA_EMBED_URL", "OPENAI_BASE_URL", "RAGSERVE_ENV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OLLAMA_LLM_URL", "http://127.0.0.1:11434")


def built(profile: Path) -> dict[str, dict[str, Any]]:
    """What the builders make of each application's arguments: deployments by name."""
    found = {}
    for application in schema(profile).applications:
        module, _, name = application.import_path.partition(":")
        builder = getattr(importlib.import_module(module), name)
        annotation = builder.__annotations__["args"]
        graph = builder(annotation.model_validate(application.args))
        found[application.name] = graph._bound_deployment
    return found


@by_profile
def test_there_are_four_applications_and_only_the_query_path_speaks_http(profile: Path) -> None:
    prefixes = {app.name: app.route_prefix for app in schema(profile).applications}
    assert prefixes == {"embedding": None, "generation": None, "rag": "/", "ingestion": None}


@by_profile
def test_every_application_builds_and_each_of_its_deployments_is_configured(profile: Path) -> None:
    graphs = built(profile)
    for application in schema(profile).applications:
        assert [graphs[application.name].name] == [part.name for part in application.deployments]


@by_profile
def test_the_query_path_holds_no_model(profile: Path) -> None:
    ingress = built(profile)["rag"]
    _, *parts = ingress.init_args
    assert [part for part in parts if part is not None] == []


@by_profile
def test_two_replicas_at_least_run_of_everything(profile: Path) -> None:
    for name, options in deployments(profile).items():
        floor = options.get("autoscaling_config", {}).get("min_replicas", options["num_replicas"])
        assert floor >= 2, name


@by_profile
def test_a_release_starts_the_new_before_it_stops_the_old_unless_a_gpu_is_whole(
    profile: Path,
) -> None:
    for name, options in deployments(profile).items():
        whole_gpu = options["ray_actor_options"].get("num_gpus", 0) >= 1
        assert (options["max_surge_percent"] > 0) is not whole_gpu, name
        assert not whole_gpu or options["rolling_update_percentage"] < 0.5, name


@by_profile
def test_what_waits_for_another_waits_longer_than_it(profile: Path) -> None:
    config = read(profile)
    request_s = config["http_options"]["request_timeout_s"]
    for application in config["applications"]:
        if application["name"] in ("rag", "generation"):
            for part in application["deployments"]:
                assert part["graceful_shutdown_timeout_s"] > request_s


@by_profile
def test_logs_are_json_and_requests_are_traced(profile: Path) -> None:
    config = schema(profile)
    assert config.logging_config.encoding == "JSON"
    assert not config.logging_config.enable_access_log
    assert config.tracing_config.enabled
    assert 0 < config.tracing_config.sampling_ratio <= 1


@by_profile
def test_a_replica_runs_only_where_its_role_is_offered(profile: Path) -> None:
    roles = {
        name: list(options["ray_actor_options"]["resources"])
        for name, options in deployments(profile).items()
    }
    assert roles == {
        "Embedding": ["models"],
        "Generation": ["models"],
        "Ingress": ["ingress"],
        "Supervisor": ["ingestion"],
    }


@by_profile
def test_a_burst_is_scaled_for_sooner_than_a_lull(profile: Path) -> None:
    for name, options in deployments(profile).items():
        if scaling := options.get("autoscaling_config"):
            assert scaling["max_replicas"] >= scaling["min_replicas"], name
            assert scaling["upscale_delay_s"] < scaling["downscale_delay_s"], name
            assert AutoscalingConfig.model_validate(scaling).policy.get_policy() is not None


def test_the_queue_of_jobs_decides_the_number_of_supervisors() -> None:
    policy = SupervisorsForQueue(jobs_per_supervisor=4)
    reported = {"aggregated_metrics": {QUEUED_JOBS: {"one": 9.0, "two": 8.0}}}
    assert policy(Context(target_num_replicas=2, **reported)) == (3, {})


def test_supervisors_that_report_nothing_stay_as_they_are() -> None:
    policy = SupervisorsForQueue()
    assert policy(Context(target_num_replicas=2, aggregated_metrics={})) == (2, {})
    silent = {"aggregated_metrics": {QUEUED_JOBS: {}}}
    assert policy(Context(target_num_replicas=3, **silent)) == (3, {})


def test_an_empty_queue_calls_for_none_beyond_the_floor() -> None:
    policy = SupervisorsForQueue()
    idle = {"aggregated_metrics": {QUEUED_JOBS: {"one": 0.0}}}
    assert policy(Context(target_num_replicas=5, **idle)) == (0, {})


def test_a_supervisor_reports_what_its_policy_reads() -> None:
    assert hasattr(IngestionSupervisor.func_or_class, "record_autoscaling_stats")


def test_the_local_default_is_one_graph() -> None:
    local = schema(RAY_CONFIG / "serve.local.yaml")
    assert [app.name for app in local.applications] == ["rag", "ingestion"]


class Context:
    """What Serve tells a policy."""

    def __init__(self, **known: Any) -> None:
        self.__dict__.update(known)
