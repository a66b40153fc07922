"""Deploys the applications of a Serve configuration, in a process that ends when they run.

`serve run CONFIG` and `serve deploy CONFIG` start the same thing. This one imports Ray while the
node is still starting, needs no dashboard, overrides where HTTP listens, and gives its 250 MB
back. Run as `python -m serve_app.embedded.deploy`; prints one JSON status a line.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import ray
import yaml
from ray import serve
from ray.serve._private.api import serve_start
from ray.serve.schema import ApplicationStatus, ServeDeploySchema

from serve_app.embedded.processes import port_answers

POLL_S = 0.25
STARTING = (ApplicationStatus.NOT_STARTED, ApplicationStatus.DEPLOYING)


def main() -> int:
    """Deploy, and follow the applications until all run or one has failed."""
    options = _options()
    config = yaml.safe_load(options.config.read_text())
    config["http_options"] = config.get("http_options", {}) | {
        "host": options.host,
        "port": options.port,
    }
    _await_node(options.address, options.timeout_s)
    ray.init(address=options.address, namespace="serve", log_to_driver=False)
    schema = ServeDeploySchema.model_validate(config)
    client = serve_start(
        http_options=schema.http_options.model_dump(), proxy_location=schema.proxy_location
    )
    client.deploy_apps(schema, _blocking=False)
    return _follow(options.timeout_s)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Deploy a Serve configuration to a local node.")
    parser.add_argument("config", type=Path, help="the Serve YAML")
    parser.add_argument("--address", required=True, help="host:port of the Ray head node")
    parser.add_argument("--host", default="127.0.0.1", help="where HTTP listens")
    parser.add_argument("--port", type=int, default=3400, help="where HTTP listens")
    parser.add_argument("--timeout-s", type=float, default=300.0, help="patience, in seconds")
    return parser.parse_args()


def _await_node(address: str, timeout_s: float) -> None:
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + timeout_s
    while not port_answers(int(port), host):
        if time.monotonic() > deadline:
            sys.exit(f"No Ray node answers at {address}.")
        time.sleep(POLL_S)


def _follow(timeout_s: float) -> int:
    said: dict[str, str] = {}
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        applications = serve.status().applications
        now = {name: str(app.status.value) for name, app in applications.items()}
        if now != said:
            sys.stdout.write(json.dumps(now) + "\n")
            sys.stdout.flush()
            said = now
        if now and not any(app.status in STARTING for app in applications.values()):
            for name, app in applications.items():
                if app.status != ApplicationStatus.RUNNING:
                    sys.stderr.write(_reasons(name, app))
            return int(any(a.status != ApplicationStatus.RUNNING for a in applications.values()))
        time.sleep(POLL_S)
    sys.stderr.write(f"The applications were not running within {timeout_s:.0f} s.\n")
    return 1


def _reasons(name: str, app: Any) -> str:
    """Why an application does not run: its own message and those of its deployments."""
    reasons = [f"{name} ({app.status.value.lower()}): {app.message}"]
    reasons += [f"{name}/{part}: {d.message}" for part, d in app.deployments.items() if d.message]
    return "\n".join(reasons) + "\n"


if __name__ == "__main__":
    sys.exit(main())
