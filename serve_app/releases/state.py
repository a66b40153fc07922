"""What Serve runs, and the port through which a release asks and changes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

RUNNING = "RUNNING"
FAILED = frozenset({"DEPLOY_FAILED", "UNHEALTHY"})
"""Serve goes no further from here by itself."""

ServeConfig = dict[str, Any]
"""A Serve configuration as its YAML has it."""


@dataclass(frozen=True, slots=True)
class DeploymentState:
    """A deployment: how it is, and the process ids of the replicas that run, by replica id."""

    status: str
    message: str
    target_replicas: int
    replicas: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ApplicationState:
    """An application: how it is, and the configuration it was deployed from, if from one."""

    status: str
    message: str
    deployed_at_s: float
    config: ServeConfig | None
    deployments: Mapping[str, DeploymentState]

    @property
    def reasons(self) -> str:
        """Its own message and those of its deployments, each once and without its traceback."""
        parts = [f"{name}: {told(part.message)}" for name, part in self.deployments.items()]
        said = [told(self.message), *(text for text in parts if not text.endswith(": "))]
        return " ".join(text for text in dict.fromkeys(said) if text)


def told(message: str) -> str:
    """A message in one line; of a traceback, what was raised in the end."""
    before, raised, traceback = message.partition("Traceback (most recent call last)")
    if raised:
        lines = [line for line in traceback.splitlines() if line.strip()]
        message = f"{before} {lines[-1] if lines else ''}"
    return " ".join(message.split())


Applications = Mapping[str, ApplicationState]


class Serve(Protocol):
    """A running Ray Serve."""

    def applications(self) -> Applications:
        """Every application by name; empty before the first deployment.

        Raises:
            ServeUnreachable: Serve's API does not answer just now.
        """
        ...

    def apply(self, config: ServeConfig) -> None:
        """Make `config` what should run; returns before it does.

        Raises:
            ServeUnreachable: Serve's API does not answer just now.
            ReleaseRefused: Serve finds the configuration unusable. Nothing has changed.
        """
        ...


class ServeUnreachable(Exception):
    """Serve's API does not answer; the text says where it was looked for."""


class ReleaseRefused(Exception):
    """The configuration cannot be deployed; the text names every problem."""


def deployed_config(applications: Applications, template: ServeConfig) -> ServeConfig | None:
    """The configuration that runs now; None where something runs that came from none.

    Serve tells the applications' part only. The rest of it (HTTP, logs, tracing) is fixed while
    Serve runs, or harmless to change, and comes from `template`.
    """
    configs = [app.config for app in applications.values()]
    if not configs or any(config is None for config in configs):
        return None
    return template | {"applications": configs}
