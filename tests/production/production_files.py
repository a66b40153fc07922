"""The files that run ragserve in production, as the tests read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from ray.serve.schema import ServeDeploySchema

ROOT = Path(__file__).parents[2]
RAY_CONFIG = ROOT / "ray_config"
PROFILES = sorted(RAY_CONFIG.glob("serve.production*.yaml"))


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def schema(path: Path) -> ServeDeploySchema:
    return ServeDeploySchema.model_validate(read(path))


def deployments(path: Path) -> dict[str, dict[str, Any]]:
    """The options of each deployment, by its name."""
    applications = read(path)["applications"]
    return {part["name"]: part for app in applications for part in app["deployments"]}
