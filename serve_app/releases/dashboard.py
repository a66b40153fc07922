"""Serve through the REST API of Ray's dashboard, as `serve deploy` reaches it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from serve_app.releases.state import (
    RUNNING,
    ApplicationState,
    DeploymentState,
    ReleaseRefused,
    ServeConfig,
    ServeUnreachable,
    told,
)

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
PATH = "/api/serve/applications/"
TIMEOUT_S = 60.0


class DashboardServe:
    """The port `Serve` over HTTP. `token` is Ray's, where the cluster asks for one."""

    def __init__(self, address: str = DEFAULT_ADDRESS, token: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._address = address.rstrip("/")
        self._http = httpx.Client(
            base_url=self._address, headers=headers, timeout=TIMEOUT_S, trust_env=False
        )

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def applications(self) -> Mapping[str, ApplicationState]:
        details = self._answer("GET").json()
        return {name: _application(app) for name, app in details["applications"].items()}

    def apply(self, config: ServeConfig) -> None:
        self._answer("PUT", config)

    def _answer(self, method: str, body: ServeConfig | None = None) -> httpx.Response:
        try:
            response = self._http.request(method, PATH, json=body)
        except httpx.HTTPError as error:
            raise ServeUnreachable(
                f"Ray's dashboard does not answer at {self._address} ({type(error).__name__})."
            ) from error
        if response.status_code in (401, 403):
            raise ServeUnreachable(
                f"Ray's dashboard at {self._address} wants the cluster's token: set "
                "RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH."
            )
        if response.status_code == 400:
            raise ReleaseRefused(f"Serve refuses the configuration: {told(response.text)}")
        if not response.is_success:
            raise ServeUnreachable(
                f"Ray's dashboard at {self._address} answers {response.status_code}: "
                f"{told(response.text)}"
            )
        return response


def token_of(environment: Mapping[str, str]) -> str | None:
    """Ray's token: its variable, the file that another names, or the file that Ray makes.

    Raises:
        ServeUnreachable: the file that the variable names cannot be read.
    """
    if token := environment.get("RAY_AUTH_TOKEN"):
        return token
    if path := environment.get("RAY_AUTH_TOKEN_PATH"):
        try:
            return Path(path).read_text("utf-8").strip()
        except OSError as error:
            raise ServeUnreachable(
                f"RAY_AUTH_TOKEN_PATH cannot be read: {type(error).__name__}."
            ) from error
    made = Path.home() / ".ray" / "auth_token"
    return made.read_text("utf-8").strip() if made.is_file() else None


def _application(details: dict[str, Any]) -> ApplicationState:
    return ApplicationState(
        status=details["status"],
        message=details["message"],
        deployed_at_s=details["last_deployed_time_s"],
        config=details["deployed_app_config"],
        deployments={name: _deployment(part) for name, part in details["deployments"].items()},
    )


def _deployment(details: dict[str, Any]) -> DeploymentState:
    return DeploymentState(
        status=details["status"],
        message=details["message"],
        target_replicas=details["target_num_replicas"],
        replicas={
            replica["replica_id"]: replica["pid"] or 0
            for replica in details["replicas"]
            if replica["state"] == RUNNING
        },
    )
