"""`ragserve mcp`: the documents as tools for agents."""

from __future__ import annotations

import os
import socket
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

import typer

from serve_app.cli import profiles
from serve_app.cli.connection import KeyOption, ProfileOption, UrlOption, resolve
from serve_app.cli.failures import CommandFailure, UsageFailure
from serve_app.cli.output import messages
from serve_app.mcp.roots import PathRefused, Roots


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="mcp")(serve)


def serve(
    *,
    transport: Annotated[
        Literal["stdio", "http"],
        typer.Option(help="For the agent that starts this, or for others over streamable HTTP."),
    ] = "stdio",
    root: Annotated[
        list[Path] | None,
        typer.Option(
            help="A folder whose files may be ingested; may be repeated. Without it, none.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="http: the address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="http: 0 takes a free one.")] = 3410,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            help="http: a name (or name:port) that clients reach this by, beside loopback's.",
            show_default=False,
        ),
    ] = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    profile: ProfileOption = None,
) -> None:
    """Serve MCP: search, ask, list collections and ingest files, as tools for agents.

    Over stdio the tools use this command's key; over HTTP each request brings its own.
    """
    target = resolve(
        url,
        api_key,
        profile,
        environment=os.environ,
        known=profiles.load(),
        folder=Path.cwd(),
    )
    try:
        roots = Roots(root or ())
    except PathRefused as refusal:
        raise UsageFailure(str(refusal)) from None
    if transport == "stdio":
        # Deferred: the MCP package is slow to import.
        from serve_app.mcp.tools import server

        server(target.url, lambda _headers: target.api_key, roots).run("stdio")
        return
    with _listener(host, port) as listener:
        from serve_app.mcp.http import application
        from serve_app.mcp.http import serve as serve_http

        taken: int = listener.getsockname()[1]
        place = f"[{host}]:{taken}" if ":" in host else f"{host}:{taken}"
        messages().print(f"MCP for {target.url} at http://{place}/mcp", soft_wrap=True)
        names = [place, *(allow_host or ())]
        serve_http(listener, application(target.url, roots, taken, names))


def _listener(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        raise UsageFailure(f"--host takes an IP address, and {host!r} is none.") from None
    try:
        return socket.create_server((host, port), family=family)
    except OSError as failure:
        raise CommandFailure(
            f"Cannot listen at {host} port {port}: {failure.strerror}; choose another --port."
        ) from failure
