"""`ragserve deploy` and `ragserve scale`: releases, and how many replicas run.

Both reach Serve by the REST API of Ray's dashboard, as `serve deploy` does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serve_app.cli import profiles
from serve_app.cli.connection import KeyOption, ProfileOption, UrlOption, resolve
from serve_app.cli.failures import CommandFailure
from serve_app.cli.output import messages
from serve_app.releases.dashboard import DEFAULT_ADDRESS, DashboardServe, token_of
from serve_app.releases.rollout import ReleaseFailed, RolledBack, Rollout, RolloutFailed
from serve_app.releases.scaling import scaled
from serve_app.releases.smoke import QUESTION, SmokeQuery
from serve_app.releases.state import ReleaseRefused, Serve, ServeUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from serve_app.releases.state import Applications

AddressOption = Annotated[
    str,
    typer.Option("--address", help="Address of Ray's dashboard.", envvar="RAY_DASHBOARD_ADDRESS"),
]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", min=1, help="Seconds in which everything must run.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(deploy)
    app.command()(scale)


def deploy(
    config: Annotated[
        Path, typer.Argument(help="Serve configuration.", exists=True, dir_okay=False)
    ],
    *,
    collection: Annotated[
        str | None,
        typer.Option("--collection", "-c", help="Collection that the smoke query asks."),
    ] = None,
    question: Annotated[str, typer.Option(help="The smoke query.")] = QUESTION,
    check: Annotated[bool, typer.Option("--check", help="Validate only.")] = False,
    wait_s: Annotated[
        float, typer.Option("--wait", min=0, help="Seconds to wait for Ray to start.")
    ] = 0.0,
    timeout_s: TimeoutOption = 900.0,
    address: AddressOption = DEFAULT_ADDRESS,
    url: UrlOption = None,
    api_key: KeyOption = None,
    profile: ProfileOption = None,
) -> None:
    """Release a Serve configuration, and go back by itself where it does not work.

    It is validated, applied and watched; then every part must be ready and, with --collection, a
    question answered. Applications that did not change keep their replicas.
    """
    # Deferred: the schemas are Ray's, which takes seconds to import.
    from serve_app.releases.validation import read_config

    with _sentences():
        wanted = read_config(config)
        if check:
            messages().print(f"{config} can be deployed.")
            return
        target = resolve(
            url,
            api_key,
            profile,
            environment=os.environ,
            known=profiles.load(),
            folder=Path.cwd(),
        )
        smoke = SmokeQuery(target.url, target.api_key, collection, question)
        with _serve(address, wait_s) as serve:
            started = time.monotonic()
            after = Rollout(serve, messages().print, smoke, timeout_s).release(wanted)
    _report(after, time.monotonic() - started)


def scale(
    deployment: Annotated[
        str, typer.Argument(help="Name of a deployment, or application/deployment.")
    ],
    replicas: Annotated[int, typer.Argument(min=1, help="How many replicas.")],
    *,
    timeout_s: TimeoutOption = 900.0,
    address: AddressOption = DEFAULT_ADDRESS,
) -> None:
    """Change how many replicas of a deployment run; where it scales by itself, its floor.

    It holds until the next `ragserve deploy`.
    """
    with _sentences(), _serve(address, 0) as serve:
        config = scaled(serve.applications(), deployment, replicas)
        serve.apply(config)
        _report(Rollout(serve, messages().print, lambda: None, timeout_s).settled(config), None)


@contextmanager
def _serve(address: str, wait_s: float) -> Iterator[DashboardServe]:
    serve = DashboardServe(address, token_of(os.environ))
    try:
        _await(serve, wait_s)
        yield serve
    finally:
        serve.close()


def _await(serve: Serve, wait_s: float, sleep: Callable[[float], None] = time.sleep) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            serve.applications()
        except ServeUnreachable:
            if time.monotonic() >= deadline:
                raise
            sleep(1.0)
        else:
            return


@contextmanager
def _sentences() -> Iterator[None]:
    try:
        yield
    except RolledBack as failure:
        raise CommandFailure(
            f"{failure}\nThe release failed. The version before it runs again."
        ) from None
    except ReleaseFailed as failure:
        raise CommandFailure(f"{failure}\nThe release failed.") from None
    except (ReleaseRefused, ServeUnreachable, RolloutFailed) as failure:
        raise CommandFailure(str(failure)) from None


def _report(after: Applications, took_s: float | None) -> None:
    parts = [
        f"{name} {len(part.replicas)}"
        for app in after.values()
        for name, part in app.deployments.items()
    ]
    took = "" if took_s is None else f" after {took_s:.0f} s"
    messages().print(f"Running{took}. Replicas: {', '.join(parts)}.")
