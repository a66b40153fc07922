"""The Kubernetes overlays build, hold to Kubernetes' schemas, and say what they must."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from production_files import RAY_CONFIG, ROOT, read
from pydantic import BaseModel, ConfigDict, Field

KUBERNETES = RAY_CONFIG / "kubernetes"
OVERLAYS = ("dev", "production", "incremental-upgrade")
CUSTOM = {"RayService", "PodMonitor", "PrometheusRule"}
LONGEST_REQUEST_S = 300
by_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


class Strict(BaseModel):
    """A part of KubeRay's resource, with the fields that we use of it and no others."""

    model_config = ConfigDict(extra="forbid")


class HeadGroup(Strict):
    rayStartParams: dict[str, str]  # noqa: N815 - Kubernetes' spelling, here and below
    template: dict[str, Any]


class WorkerGroup(HeadGroup):
    groupName: Annotated[str, Field(pattern="^[a-z]([-a-z0-9]*[a-z0-9])?$")]  # noqa: N815
    replicas: Annotated[int, Field(ge=0)]
    minReplicas: Annotated[int, Field(ge=0)]  # noqa: N815
    maxReplicas: Annotated[int, Field(ge=1)]  # noqa: N815


class FaultTolerance(Strict):
    redisAddress: str  # noqa: N815
    redisPassword: dict[str, Any]  # noqa: N815


class AuthOptions(Strict):
    mode: Literal["token"]


class RayCluster(Strict):
    rayVersion: str  # noqa: N815
    enableInTreeAutoscaling: Literal[True]  # noqa: N815
    authOptions: AuthOptions  # noqa: N815
    gcsFaultToleranceOptions: FaultTolerance  # noqa: N815
    headGroupSpec: HeadGroup  # noqa: N815
    workerGroupSpecs: list[WorkerGroup]  # noqa: N815


class UpgradeOptions(Strict):
    gatewayClassName: str  # noqa: N815
    maxSurgePercent: Annotated[int, Field(ge=0, le=100)]  # noqa: N815
    stepSizePercent: Annotated[int, Field(ge=0, le=100)]  # noqa: N815
    intervalSeconds: Annotated[int, Field(ge=0)]  # noqa: N815


class UpgradeStrategy(Strict):
    type: Literal["None", "NewCluster", "NewClusterWithIncrementalUpgrade"]
    clusterUpgradeOptions: UpgradeOptions | None = None  # noqa: N815


class RayServiceSpec(Strict):
    serveConfigV2: str  # noqa: N815
    rayClusterConfig: RayCluster  # noqa: N815
    upgradeStrategy: UpgradeStrategy  # noqa: N815
    excludeHeadPodFromServeSvc: Literal[True]  # noqa: N815
    rayClusterDeletionDelaySeconds: int  # noqa: N815


@lru_cache
def built(overlay: str) -> list[dict[str, Any]]:
    """Every resource of an overlay, as `kubectl apply -k` would send it."""
    kubectl = shutil.which("kubectl", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if kubectl is None and not os.environ.get("CI"):
        pytest.skip("kubectl is not installed")
    assert kubectl, "kubectl is not installed"
    folder = KUBERNETES / "overlays" / overlay
    done = subprocess.run(
        [kubectl, "kustomize", folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of_kind(overlay: str, kind: str) -> dict[str, Any]:
    return {r["metadata"]["name"]: r for r in built(overlay) if r["kind"] == kind}


def service(overlay: str) -> RayServiceSpec:
    return RayServiceSpec.model_validate(of_kind(overlay, "RayService")["ragserve"]["spec"])


def pods(overlay: str) -> dict[str, dict[str, Any]]:
    """Every pod that comes to be, by what makes it."""
    cluster = service(overlay).rayClusterConfig
    found = {group.groupName: group.template for group in cluster.workerGroupSpecs}
    found["head"] = cluster.headGroupSpec.template
    for kind in ("Deployment", "StatefulSet"):
        for name, resource in of_kind(overlay, kind).items():
            found[name] = resource["spec"]["template"]
    return found


@by_overlay
def test_every_resource_holds_to_the_schema_of_kubernetes(overlay: str) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    version = validate.latest_version()
    for resource in built(overlay):
        if resource["kind"] not in CUSTOM:
            validate.validate(resource, version, strict=True)
    for name, template in pods(overlay).items():
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, **template}
        validate.validate(pod, version, strict=True)


@by_overlay
def test_the_cluster_uses_only_fields_that_kuberay_has(overlay: str) -> None:
    assert service(overlay).rayClusterConfig.rayVersion == "2.60.0"


@pytest.mark.parametrize(
    ("overlay", "profile"),
    [
        ("dev", "serve.production.cpu.yaml"),
        ("production", "serve.production.yaml"),
        ("incremental-upgrade", "serve.production.yaml"),
    ],
)
def test_what_is_served_is_a_configuration_of_ours_word_for_word(
    overlay: str, profile: str
) -> None:
    assert service(overlay).serveConfigV2 == (RAY_CONFIG / profile).read_text()


@by_overlay
def test_the_head_does_no_work_and_remembers_in_a_redis_of_its_own(overlay: str) -> None:
    cluster = service(overlay).rayClusterConfig
    assert cluster.headGroupSpec.rayStartParams["num-cpus"] == "0"
    address = cluster.gcsFaultToleranceOptions.redisAddress
    assert address == "redis://gcs-redis:6379"
    properties = (KUBERNETES / "base" / "environment.properties").read_text()
    assert "gcs-redis" not in properties


@by_overlay
def test_every_role_that_is_served_is_offered_by_workers(overlay: str) -> None:
    spec = service(overlay)
    config = yaml.safe_load(spec.serveConfigV2)
    wanted = {
        role
        for app in config["applications"]
        for part in app["deployments"]
        for role in part["ray_actor_options"]["resources"]
    }
    offered = " ".join(
        group.rayStartParams["resources"] for group in spec.rayClusterConfig.workerGroupSpecs
    )
    assert all(f'"{role}\\": 1' in offered for role in wanted), offered


def test_production_has_a_gpu_for_every_replica_that_owns_one() -> None:
    spec = service("production")
    group = next(g for g in spec.rayClusterConfig.workerGroupSpecs if "gpu" in g.groupName)
    containers = {c["name"]: c for c in group.template["spec"]["containers"]}
    assert group.rayStartParams["num-gpus"] == "1"
    assert containers["ollama"]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    applications = {a["name"]: a for a in yaml.safe_load(spec.serveConfigV2)["applications"]}
    generation = applications["generation"]["deployments"][0]
    assert generation["ray_actor_options"]["num_gpus"] == 1
    assert generation["autoscaling_config"]["max_replicas"] == group.maxReplicas


@by_overlay
def test_every_pod_may_do_only_what_it_must(overlay: str) -> None:
    for name, template in pods(overlay).items():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"], name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"], name
            assert not security["allowPrivilegeEscalation"], name
            assert security["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["limits"]["memory"], name
            assert not container["image"].endswith(":latest"), name


@by_overlay
def test_a_pod_is_given_longer_to_end_than_the_longest_request(overlay: str) -> None:
    for name, template in pods(overlay).items():
        if name != "gcs-redis":
            assert template["spec"]["terminationGracePeriodSeconds"] > LONGEST_REQUEST_S, name
    assert service(overlay).rayClusterDeletionDelaySeconds > LONGEST_REQUEST_S


@by_overlay
def test_the_key_of_the_authority_reaches_an_init_container_alone(overlay: str) -> None:
    for template in pods(overlay).values():
        for container in template["spec"]["containers"]:
            mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
            assert "authority" not in mounts


@by_overlay
def test_nothing_reaches_anything_by_default_and_ray_only_by_its_own(overlay: str) -> None:
    policies = of_kind(overlay, "NetworkPolicy")
    closed = policies["nothing-by-default"]["spec"]
    assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    ray = {"podSelector": {"matchLabels": {"ragserve.dev/part": "ray"}}}
    for rule in policies["ray"]["spec"]["ingress"]:
        if rule["from"] != [ray]:
            # Direct ingress, GCS, raylets and workers are for Ray's own pods.
            assert {port["port"] for port in rule["ports"]} <= {3400, 8265, 52365, 8080}


@by_overlay
def test_every_policy_selects_pods_that_exist(overlay: str) -> None:
    labels = [template["metadata"]["labels"] for template in pods(overlay).values()]
    for name, policy in of_kind(overlay, "NetworkPolicy").items():
        wanted = policy["spec"]["podSelector"].get("matchLabels", {})
        assert any(wanted.items() <= each.items() for each in labels), name


def test_disruptions_are_bounded_for_every_role_and_spread_over_zones() -> None:
    budgets = of_kind("production", "PodDisruptionBudget")
    assert set(budgets) == {"ingress", "models", "ingestion", "edge"}
    for group in service("production").rayClusterConfig.workerGroupSpecs:
        keys = [c["topologyKey"] for c in group.template["spec"]["topologySpreadConstraints"]]
        assert keys == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]


def test_an_incremental_upgrade_moves_traffic_step_by_step() -> None:
    strategy = service("incremental-upgrade").upgradeStrategy
    assert strategy.type == "NewClusterWithIncrementalUpgrade"
    assert strategy.clusterUpgradeOptions
    assert strategy.clusterUpgradeOptions.stepSizePercent < 100


def test_the_template_names_every_secret_that_is_mounted_and_holds_none() -> None:
    path = KUBERNETES / "base" / "secrets.example.yaml"
    template = {
        s["metadata"]["name"]: s["stringData"] for s in yaml.safe_load_all(path.read_text())
    }
    assert {value for keys in template.values() for value in keys.values()} == {""}
    properties = (KUBERNETES / "base" / "environment.properties").read_text()
    for line in properties.splitlines():
        if "/run/secrets/ragserve/" in line:
            assert line.rpartition("/")[2] in template["ragserve"], line
    for name, pod in pods("production").items():
        for volume in pod["spec"].get("volumes", []):
            if "secret" in volume:
                assert volume["secret"]["secretName"] in template, name


def test_prometheus_has_the_same_rules_here_as_in_the_compose_stack() -> None:
    groups = of_kind("production", "PrometheusRule")["ragserve"]["spec"]["groups"]
    expected = []
    for path in sorted((ROOT / "docker" / "prometheus" / "rules").glob("*.yml")):
        expected += read(path)["groups"]
    assert groups == expected
