"""More or fewer replicas of a running deployment, without a restart of those that stay."""

from __future__ import annotations

import copy

from serve_app.releases.state import Applications, ReleaseRefused, ServeConfig, deployed_config


def scaled(applications: Applications, target: str, replicas: int) -> ServeConfig:
    """The running configuration with `replicas` of `target`.

    A deployment that scales by itself gets a new floor, and a new ceiling where that is lower: it
    goes on scaling. The others get the number.

    Args:
        applications: what runs.
        target: a deployment's name; `application/deployment` where several have the same.
        replicas: how many, at least 1.

    Raises:
        ReleaseRefused: there is no such deployment, or none that a configuration made.
    """
    found = [
        (app, deployment)
        for app, state in applications.items()
        for deployment in state.deployments
        if target in (deployment, f"{app}/{deployment}")
    ]
    if len(found) != 1:
        known = sorted(f"{a}/{d}" for a, s in applications.items() for d in s.deployments)
        which = "several deployments are" if found else "no deployment is"
        raise ReleaseRefused(f"{which} named {target}. There are: {', '.join(known)}.")
    config = deployed_config(applications, {})
    if config is None:
        raise ReleaseRefused("What runs was not deployed from a configuration.")
    config = copy.deepcopy(config)
    app_name, name = found[0]
    application = next(app for app in config["applications"] if app["name"] == app_name)
    _set(application, name, replicas)
    return config


def _set(application: ServeConfig, name: str, replicas: int) -> None:
    parts = application.setdefault("deployments", [])
    part = next((part for part in parts if part["name"] == name), None)
    if part is None:
        part = {"name": name}
        parts.append(part)
    if scaling := part.get("autoscaling_config"):
        scaling["min_replicas"] = replicas
        scaling["max_replicas"] = max(replicas, scaling.get("max_replicas") or 1)
        scaling.pop("initial_replicas", None)
    else:
        part["num_replicas"] = replicas
