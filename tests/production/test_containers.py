"""The images and the compose stack: who runs as whom, reaches what, and is held to which limits."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from production_files import ROOT, read

DOCKER = ROOT / "docker"
DOCKERFILES = [DOCKER / "Dockerfile", DOCKER / "edge" / "Dockerfile"]
SETTING = re.compile(r"(?<!\$)\$\{([A-Z_]+)(?::?-([^}]*))?\}")
OURS = {"rag-service", "llamaindex-query", "llamaindex-ingestion", "edge"}
NODES = OURS - {"edge"}


def compose() -> Any:
    return read(DOCKER / "compose.yaml")


def tool(name: str) -> str:
    """A checker's path; without it the test is skipped, but never where everything must run."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None and not os.environ.get("CI"):
        pytest.skip(f"{name} is not installed")
    assert found, f"{name} is not installed"
    return found


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_hadolint_finds_nothing(dockerfile: Path) -> None:
    found = subprocess.run(
        [tool("hadolint"), dockerfile], capture_output=True, text=True, check=False
    )
    assert found.stdout + found.stderr == ""


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_an_image_runs_as_nobody_of_note_and_says_whether_it_is_well(dockerfile: Path) -> None:
    last_stage = dockerfile.read_text().rpartition("\nFROM ")[2]
    user = re.findall(r"^USER (\S+)$", last_stage, re.MULTILINE)
    assert user
    assert int(user[-1].partition(":")[0]) >= 10_000
    assert "HEALTHCHECK" in last_stage
    assert "|| true" not in dockerfile.read_text()


def test_every_package_of_the_image_is_one_that_was_tested() -> None:
    pins = re.compile(r"^([a-z0-9.-]+)==(\S+)", re.MULTILINE)
    tested = dict(pins.findall((ROOT / "requirements.lock").read_text()))
    image = dict(pins.findall((DOCKER / "requirements.lock").read_text()))
    assert len(image) > 100
    assert {name: version for name, version in image.items() if tested.get(name) != version} == {}


def test_no_file_of_the_containers_names_a_package_index() -> None:
    for path in (path for path in DOCKER.rglob("*") if path.is_file()):
        text = path.read_text()
        for word in ("--index-url", "--extra-index-url", "pypi.org", "deb.debian.org"):
            assert word not in text, path


def test_the_services_are_those_of_the_platform_and_no_others() -> None:
    assert set(compose()["services"]) == OURS | {
        "redis-queue",
        "redis-cache",
        "ollama-embeddings",
        "ollama-llm",
        "milvus",
        "prometheus",
        "grafana",
    }


def test_port_3400_of_the_edge_is_all_that_is_published() -> None:
    published = {name: service.get("ports") for name, service in compose()["services"].items()}
    assert {name: ports for name, ports in published.items() if ports} == {
        "edge": ["${PUBLIC_ADDRESS:-0.0.0.0}:3400:3400"]
    }


def test_only_the_edge_is_on_a_network_that_leads_outside() -> None:
    stack = compose()
    outside = {name for name, network in stack["networks"].items() if not network.get("internal")}
    assert outside == {"outside"}
    reached = {
        name for name, service in stack["services"].items() if "outside" in service["networks"]
    }
    assert reached == {"edge"}


def test_the_networks_are_the_trust_boundaries() -> None:
    members: dict[str, set[str]] = {}
    for name, service in compose()["services"].items():
        for network in service["networks"]:
            members.setdefault(network, set()).add(name)
    assert members["front"] == {"edge", "rag-service"}
    assert members["ray"] == NODES
    assert members["services"] == {"edge"}
    assert members["models"] == {"llamaindex-query", "ollama-embeddings", "ollama-llm"}
    assert members["stores"] == NODES | {"redis-queue", "redis-cache", "milvus"}
    assert not members["monitoring"] & {"redis-queue", "redis-cache", "ollama-llm"}


@pytest.mark.parametrize("name", list(compose()["services"]))
def test_a_container_is_held_to_its_limits(name: str) -> None:
    service = compose()["services"][name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] or name == "milvus"
    assert service["user"] == "${RAGSERVE_USER:-10001:10001}"
    for limit in ("cpus", "mem_limit", "pids_limit"):
        assert service[limit], limit
    assert name in OURS or service["healthcheck"]["test"]
    assert not service["image"].endswith(":latest")


def test_models_and_stores_have_the_sizes_that_were_asked_for() -> None:
    services = compose()["services"]
    assert services["ollama-embeddings"]["mem_limit"] == "4g"
    assert services["ollama-embeddings"]["environment"]["OLLAMA_NUM_PARALLEL"] == 8
    assert services["ollama-llm"]["mem_limit"] == "16g"
    assert services["ollama-llm"]["environment"]["OLLAMA_NUM_PARALLEL"] == 2
    assert "--maxmemory 512mb" in services["redis-cache"]["command"][-1]
    assert "allkeys-lru" in services["redis-cache"]["command"][-1]
    assert "noeviction" in services["redis-queue"]["command"][-1]
    assert "--appendfsync always" in services["redis-queue"]["command"][-1]


def test_the_first_three_services_are_nodes_of_one_cluster_each_with_its_role() -> None:
    services = compose()["services"]
    roles = {
        name: re.findall(r'--resources=\{"(\w+)": 1\}', " ".join(services[name]["command"]))
        for name in NODES
    }
    assert roles == {
        "rag-service": ["ingress"],
        "llamaindex-query": ["models"],
        "llamaindex-ingestion": ["ingestion"],
    }


def test_a_container_is_given_longer_to_end_than_a_request() -> None:
    config = read(ROOT / "ray_config" / "serve.production.compose.yaml")
    services = compose()["services"]
    drains = [
        part["graceful_shutdown_timeout_s"]
        for app in config["applications"]
        for part in app["deployments"]
    ]
    for name in OURS:
        assert int(services[name]["stop_grace_period"].rstrip("s")) > max(drains)


def test_the_example_of_the_settings_is_complete_and_shows_the_defaults() -> None:
    used = dict(SETTING.findall((DOCKER / "compose.yaml").read_text()))
    lines = (DOCKER / ".env.example").read_text().splitlines()
    shown = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert shown == used


def test_no_secret_is_a_variable() -> None:
    for name, service in compose()["services"].items():
        for variable, value in (service.get("environment") or {}).items():
            if re.search(r"PASSWORD|SECRET|TOKEN|PEPPER|KEY$", variable):
                assert str(value).startswith(("/run/secrets/", "/run/tls/")), (name, variable)
