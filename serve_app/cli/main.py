"""The `ragserve` command: one module a command, registered here.

Client commands import neither Ray nor a vendor's package: they start in well under a second.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from serve_app.cli import (
    ask,
    collections,
    deploy,
    documents,
    evaluate,
    ingest,
    jobs,
    keys,
    mcp,
    profile,
    search,
    secrets,
    up,
)
from serve_app.cli.failures import EXIT_CODES_HELP, Commands

app = typer.Typer(
    name="ragserve",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Answers questions from a team's own documents.",
    epilog=EXIT_CODES_HELP,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        try:
            print(version("ragserve"))
        except PackageNotFoundError:
            print("not installed")
        raise typer.Exit


@app.callback()
def _options(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


# The order of the help page: start it, fill it, ask it, look after it.
up.register(app)
ingest.register(app)
ask.register(app)
search.register(app)
evaluate.register(app)
jobs.register(app)
collections.register(app)
documents.register(app)
mcp.register(app)
profile.register(app)
deploy.register(app)
keys.register(app)
secrets.register(app)


def main() -> None:
    """The console script."""
    app()
