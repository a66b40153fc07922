"""A Serve that exists only in memory, for tests: deployments take two looks to settle."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from typing import Any

from serve_app.releases.state import ApplicationState, DeploymentState, ServeConfig

LOOKS_TO_SETTLE = 2


class MemoryServe:
    """Restarts the replicas of an application whose code or arguments changed, and only those.

    An argument `starts: false` makes an application whose new replicas do not start: like Serve
    it then keeps the old ones.
    """

    def __init__(self) -> None:
        self._deployed: dict[str, _Application] = {}
        self._numbers = itertools.count(1)
        self.applied: list[ServeConfig] = []

    def applications(self) -> Mapping[str, ApplicationState]:
        return {name: app.look() for name, app in self._deployed.items()}

    def apply(self, config: ServeConfig) -> None:
        self.applied.append(copy.deepcopy(config))
        wanted = {app["name"]: app for app in config["applications"]}
        self._deployed = {
            name: self._deployed.get(name) or _Application(self._numbers) for name in wanted
        }
        for name, app in wanted.items():
            self._deployed[name].deploy(copy.deepcopy(app), float(next(self._numbers)))


class _Application:
    def __init__(self, numbers: itertools.count[int]) -> None:
        self._numbers = numbers
        self._config: ServeConfig = {}
        self._running: dict[str, list[int]] = {}
        self._looks = 0
        self._at_s = 0.0

    def deploy(self, config: ServeConfig, at_s: float) -> None:
        restarts = _code(config) != _code(self._config)
        self._config, self._at_s = config, at_s
        self._looks = LOOKS_TO_SETTLE if restarts else 0
        if config.get("args", {}).get("starts", True):
            for name, count in _replicas(config).items():
                kept = [] if restarts else self._running.get(name, [])[:count]
                fresh = itertools.islice(self._numbers, count - len(kept))
                self._running[name] = kept + list(fresh)

    def look(self) -> ApplicationState:
        failed = not self._config.get("args", {}).get("starts", True)
        settled = self._looks == 0
        self._looks = max(0, self._looks - 1)
        status = "DEPLOYING" if not settled else "DEPLOY_FAILED" if failed else "RUNNING"
        return ApplicationState(
            status=status,
            message="a replica did not start" if settled and failed else "",
            deployed_at_s=self._at_s,
            config=copy.deepcopy(self._config),
            deployments={
                name: DeploymentState(
                    "HEALTHY", "", len(numbers), {f"replica-{n}": n for n in numbers}
                )
                for name, numbers in self._running.items()
            },
        )


def _code(config: ServeConfig) -> tuple[Any, ...]:
    return config.get("import_path"), config.get("args"), config.get("runtime_env")


def _replicas(config: ServeConfig) -> dict[str, int]:
    counts = {}
    for part in config.get("deployments", []):
        scaling = part.get("autoscaling_config")
        counts[part["name"]] = scaling["min_replicas"] if scaling else part.get("num_replicas", 1)
    return counts
