"""A Serve in memory with two applications, and a clock that a sleep moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from serve_app.releases.memory import MemoryServe
from serve_app.releases.rollout import Rollout


@dataclass(slots=True)
class Desk:
    """An operator's desk: Serve, what was said, and the time."""

    serve: MemoryServe = field(default_factory=MemoryServe)
    said: list[str] = field(default_factory=list)
    now_s: float = 0.0

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def rollout(self, smoke: Callable[[], None] = lambda: None) -> Rollout:
        return Rollout(
            self.serve,
            self.said.append,
            smoke,
            timeout_s=30,
            clock_s=lambda: self.now_s,
            sleep=self.sleep,
        )

    def pids(self) -> dict[str, set[int]]:
        return {
            name: {pid for part in app.deployments.values() for pid in part.replicas.values()}
            for name, app in self.serve.applications().items()
        }


def config(**rag: Any) -> dict[str, Any]:
    """Two applications, of which `rag` has these arguments."""
    return {
        "http_options": {"port": 3400},
        "applications": [
            {
                "name": "embedding",
                "import_path": "serve_app.build:embedding",
                "route_prefix": None,
                "deployments": [{"name": "Embedding", "autoscaling_config": {"min_replicas": 2}}],
            },
            {
                "name": "rag",
                "import_path": "serve_app.build:rag",
                "args": rag,
                "deployments": [{"name": "Ingress", "num_replicas": 2}],
            },
        ],
    }
