"""`ragserve keys`: API keys, for admins."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import Annotated

import typer
from pydantic import ValidationError

from deployments.environment import Environment
from deployments.errors import RagserveError
from serve_app.cli.connection import JsonOption, KeyOption, ProfileOption, UrlOption, connect
from serve_app.cli.failures import CommandFailure, UsageFailure
from serve_app.cli.output import console, messages, print_json, table
from serve_app.schemas import KeyCreate, KeyMade

PrefixArgument = Annotated[
    str, typer.Argument(help="The eight characters that name the key.", show_default=False)
]
DURATION = re.compile(r"(\d+)(s|m|h|d)")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

commands = typer.Typer(no_args_is_help=True, help="Make, list, replace and end API keys.")


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(commands, name="keys")


@commands.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is.", show_default=False)],
    *,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="query, ingest or admin; may be repeated.", show_default="query"),
    ] = None,
    collection: Annotated[
        list[str] | None,
        typer.Option(
            help="What it may read: a name, or a pattern with *; may be repeated.",
            show_default=False,
        ),
    ] = None,
    write: Annotated[
        list[str] | None,
        typer.Option(
            help="What it may write; left out: what it may read.",
            show_default=False,
        ),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="How long it lives, as 90d or 12h.", show_default="for ever")
    ] = None,
    direct: Annotated[
        bool,
        typer.Option(
            "--direct",
            help="Write it into Redis, as this environment names it: for the first key.",
        ),
    ] = False,
    as_json: JsonOption = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    profile: ProfileOption = None,
) -> None:
    """Make a key. It is shown once: keep it now."""
    wanted = _wanted(name, scope, collection, write, expires)
    if direct:
        made = asyncio.run(_written(wanted))
    else:
        with connect(url, api_key, profile) as client:
            made = client.create_key(wanted)
    _show(made, as_json=as_json)


@commands.command("list")
def list_(
    *,
    as_json: JsonOption = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    profile: ProfileOption = None,
) -> None:
    """List the keys; their text is nowhere."""
    with connect(url, api_key, profile) as client:
        found = client.list_keys()
    if as_json:
        print_json(found)
        return
    rows = table("KEY", "NAME", "SCOPES", "READS", "WRITES", "EXPIRES", "LAST USED")
    for key in found:
        rows.add_row(
            key.prefix,
            key.name,
            " ".join(key.scopes),
            " ".join(key.collections),
            " ".join(key.writable),
            _day(key.expires_at),
            _day(key.last_used_at),
        )
    console().print(rows)


@commands.command()
def rotate(
    prefix: PrefixArgument,
    *,
    overlap: Annotated[
        str, typer.Option(help="How long the old one stays good, as 1d or 0s.")
    ] = "0s",
    as_json: JsonOption = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    profile: ProfileOption = None,
) -> None:
    """Make a key with the same rights in place of an old one."""
    with connect(url, api_key, profile) as client:
        made = client.rotate_key(prefix, _seconds(overlap))
    _show(made, as_json=as_json)


@commands.command()
def revoke(
    prefix: PrefixArgument,
    *,
    as_json: JsonOption = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    profile: ProfileOption = None,
) -> None:
    """End a key: everywhere within half a minute."""
    with connect(url, api_key, profile) as client:
        client.revoke_key(prefix)
    if as_json:
        print_json({"revoked": prefix})
    else:
        messages().print(f"Revoked {prefix}.")


def _wanted(
    name: str,
    scope: list[str] | None,
    collection: list[str] | None,
    write: list[str] | None,
    expires: str | None,
) -> KeyCreate:
    if not collection:
        raise UsageFailure("Say what it may read: --collection NAME, or --collection '*' for all.")
    fields = {
        "name": name,
        "scopes": scope or ["query"],
        "collections": collection,
        "writable": write or None,
        "expires_in_s": None if expires is None else _seconds(expires),
    }
    try:
        return KeyCreate.model_validate(fields)
    except ValidationError as error:
        fault = error.errors()[0]
        raise UsageFailure(f"{fault['loc'][0]}: {fault['msg']}.") from None


async def _written(wanted: KeyCreate) -> KeyMade:
    # Deferred: the other commands do without Redis.
    from deployments.state.api_keys import ApiKeyStore
    from deployments.state.connection import connect as connect_redis

    try:
        environment = Environment.read()
        client = connect_redis(environment.state_url)
        try:
            store = ApiKeyStore(client, environment.api_key_pepper.get_secret_value().encode())
            text, key = await store.create(
                wanted.name,
                wanted.scopes,
                wanted.collections,
                wanted.expires_in_s,
                wanted.writable,
            )
        finally:
            await client.aclose()
    except RagserveError as error:
        raise CommandFailure(error.message) from None
    return KeyMade(
        key=text,
        prefix=key.prefix,
        name=key.name,
        scopes=sorted(key.scopes),
        collections=list(key.collections),
        writable=list(key.principal.write_patterns),
        created_at=key.created_at_s,
        expires_at=key.expires_at_s or None,
    )


def _show(made: KeyMade, *, as_json: bool) -> None:
    if as_json:
        print_json(made)
        return
    # Alone on standard output: `KEY=$(ragserve keys create ...)`.
    console().print(made.key, soft_wrap=True)
    messages().print(f"Key {made.prefix} of {made.name}. It is not shown again.")


def _seconds(text: str) -> float:
    found = DURATION.fullmatch(text)
    if found is None:
        raise UsageFailure(f"{text!r} is no duration; write 90d, 12h, 30m or 45s.")
    return int(found[1]) * SECONDS[found[2]]


def _day(at: float | None) -> str:
    return "never" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}"
