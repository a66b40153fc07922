"""`ragserve profile`: servers by name."""

from __future__ import annotations

from typing import Annotated

import typer

from serve_app.cli import profiles
from serve_app.cli.connection import DEFAULT_URL, JsonOption
from serve_app.cli.failures import UsageFailure
from serve_app.cli.output import console, messages, print_json, table
from serve_app.cli.profiles import Profile

NameArgument = Annotated[str, typer.Argument(help="The profile's name.", show_default=False)]

commands = typer.Typer(no_args_is_help=True, help="Remember servers and their keys by name.")


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(commands, name="profile")


@commands.command("set")
def set_(
    name: NameArgument,
    *,
    url: Annotated[str, typer.Option("--url", help="The server's address.")] = DEFAULT_URL,
    api_key: Annotated[
        str | None,
        typer.Option("--api-key", help="Its key; asked for when left out.", show_default=False),
    ] = None,
) -> None:
    """Make or change a profile. The first one made is in use."""
    if not url.startswith(("http://", "https://")):
        raise UsageFailure(f"{url} is not an address; it begins with http:// or https://.")
    if api_key is None:
        api_key = typer.prompt("API key", hide_input=True, err=True)
    known = profiles.load().with_profile(name, Profile(url.rstrip("/"), api_key.strip() or None))
    profiles.save(known)
    remark = "in use" if known.current == name else f"use it with `ragserve profile use {name}`"
    messages().print(f"Saved {name} ({remark}) in {profiles.profiles_path()}.")


@commands.command()
def use(name: NameArgument) -> None:
    """Talk to this server from now on."""
    profiles.save(profiles.load().using(name))
    messages().print(f"Using {name}.")


@commands.command("list")
def list_(*, as_json: JsonOption = False) -> None:
    """List the profiles; keys are not shown."""
    known = profiles.load()
    if as_json:
        entries = {
            name: {
                "url": one.url,
                "has_key": one.api_key is not None,
                "in_use": name == known.current,
            }
            for name, one in sorted(known.known.items())
        }
        print_json(entries)
        return
    if not known.known:
        messages().print("No profile yet. Make one: ragserve profile set NAME --url URL")
        return
    rows = table("", "NAME", "URL", "KEY")
    for name, one in sorted(known.known.items()):
        mark = "*" if name == known.current else ""
        rows.add_row(mark, name, one.url, "yes" if one.api_key else "no")
    console().print(rows)
