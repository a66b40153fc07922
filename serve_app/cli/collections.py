"""`ragserve collections`: the named sets of documents."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import ValidationError

from serve_app.cli.connection import JsonOption, KeyOption, ProfileOption, UrlOption, connect
from serve_app.cli.failures import UsageFailure
from serve_app.cli.output import console, messages, print_json, table
from serve_app.client import NotFound, Ragserve
from serve_app.schemas import CollectionCreate, CollectionOut

NameArgument = Annotated[str, typer.Argument(help="The collection's name.", show_default=False)]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

commands = typer.Typer(no_args_is_help=True, help="List, create and delete collections.")


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(commands, name="collections")


@commands.command("list")
def list_(
    *,
    as_json: JsonOption = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    profile: ProfileOption = None,
) -> None:
    """List the collections that the key may see."""
    with connect(url, api_key, profile) as client:
        found = client.list_collections()
    if as_json:
        print_json(found)
        return
    if not found:
        messages().print("No collection yet. Fill one with `ragserve ingest PATH`.")
        return
    rows = table("NAME", "DOCUMENTS", "PASSAGES", "MODEL", "ABOUT", right=("DOCUMENTS", "PASSAGES"))
    for one in found:
        rows.add_row(
            one.name, str(one.documents), str(one.chunks), one.embedding_model, one.description
        )
    console().print(rows)


@commands.command()
def create(
    name: NameArgument,
    *,
    description: Annotated[str, typer.Option("--description", "-d", help="What it holds.")] = "",
    as_json: JsonOption = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    profile: ProfileOption = None,
) -> None:
    """Create an empty collection."""
    check_name(name)
    with connect(url, api_key, profile) as client:
        made = client.create_collection(name, description)
    if as_json:
        print_json(made)
    else:
        messages().print(f"Created {name}. Fill it: ragserve ingest PATH --collection {name}")


@commands.command()
def delete(
    name: NameArgument,
    *,
    yes: YesOption = False,
    as_json: JsonOption = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    profile: ProfileOption = None,
) -> None:
    """Delete a collection with all its documents."""
    with connect(url, api_key, profile) as client:
        found = client.get_collection(name)
        if not yes:
            question = f"Delete {name} and its {found.documents} documents for good?"
            typer.confirm(question, abort=True, err=True)
        client.delete_collection(name)
    if as_json:
        print_json({"deleted": name})
    else:
        messages().print(f"Deleted {name}.")


def check_name(name: str) -> None:
    """Raises UsageFailure for a name that no collection can have."""
    try:
        CollectionCreate(name=name)
    except ValidationError:
        raise UsageFailure(
            f"{name!r} cannot name a collection: use a to z, 0 to 9 and _, beginning with a letter."
        ) from None


def ensure(client: Ragserve, name: str) -> CollectionOut:
    """The collection, made now if it was missing."""
    check_name(name)
    try:
        return client.get_collection(name)
    except NotFound:
        return client.create_collection(name)
