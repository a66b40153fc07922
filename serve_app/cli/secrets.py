"""`ragserve secrets`: make those that production needs, and look over those that are set."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated

import typer

from deployments.environment import HOW_TO, Environment
from deployments.errors import ConfigurationError
from serve_app.cli.failures import CommandFailure
from serve_app.cli.output import console, messages

commands = typer.Typer(no_args_is_help=True, help="Make and check the secrets of production.")


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(commands, name="secrets")


@commands.command()
def generate(
    directory: Annotated[Path, typer.Argument(help="Where they go; new, or without any.")],
    *,
    host: Annotated[
        list[str] | None,
        typer.Option(help="Name or address of a Ray node; may be repeated.", show_default=False),
    ] = None,
) -> None:
    """Make every secret, and a certificate authority with a node's certificate for Ray."""
    # Deferred: making certificates imports a cryptographic library.
    from serve_app.secret_files import VARIABLES, generate

    hosts = [*dict.fromkeys(["localhost", "127.0.0.1", socket.gethostname(), *(host or ())])]
    try:
        made = generate(directory, hosts)
    except ConfigurationError as error:
        raise CommandFailure(error.message) from None
    for path in made:
        console().print(str(path), soft_wrap=True)
    messages().print(
        f"\nMade for {', '.join(hosts)}. Give each node the variables in {VARIABLES}; "
        "keep tls/ca.key off the nodes. Check them with `ragserve secrets check`."
    )


@commands.command()
def check() -> None:
    """Check the secrets in this environment as production does; every problem is named."""
    # Deferred: as above.
    from serve_app.secret_files import file_problems

    try:
        environment = Environment.of(Environment.given())
    except ConfigurationError as error:
        raise CommandFailure(error.message) from None
    found = environment.problems(os.environ, production=True) + file_problems(os.environ)
    if found:
        raise CommandFailure("\n".join([*found, f"{HOW_TO}."]))
    messages().print("Every secret is there, long enough, different from the others and private.")
