"""`ragserve documents`: what a collection holds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

import typer

from serve_app.cli.ask import sole_collection
from serve_app.cli.connection import JsonOption, KeyOption, ProfileOption, UrlOption, connect
from serve_app.cli.output import console, messages, print_json, safe, size, table
from serve_app.client import Ragserve
from serve_app.schemas import DocumentOut

PAGE_DOCUMENTS = 200

CollectionOption = Annotated[
    str | None,
    typer.Option("--collection", "-c", help="Which one; may be left out if there is one."),
]

commands = typer.Typer(no_args_is_help=True, help="List and delete the documents of a collection.")


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(commands, name="documents")


@commands.command("list")
def list_(
    *,
    collection: CollectionOption = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    profile: ProfileOption = None,
) -> None:
    """List the documents of a collection."""
    with connect(url, api_key, profile) as client:
        name = sole_collection(client, collection)
        found = list(_all(client, name))
    if as_json:
        print_json(found)
        return
    if not found:
        messages().print(f"{name} is empty. Fill it: ragserve ingest PATH --collection {name}")
        return
    rows = table("ID", "TITLE", "SOURCE", "PASSAGES", "SIZE", "ADDED", right=("PASSAGES", "SIZE"))
    for one in found:
        added = datetime.fromtimestamp(one.ingested_at).astimezone().strftime("%Y-%m-%d %H:%M")
        title, source = safe(one.title), safe(one.source)
        rows.add_row(one.id, title, source, str(one.chunks), size(one.size_bytes), added)
    console().print(rows)


@commands.command()
def delete(
    document_ids: Annotated[list[str], typer.Argument(help="Their ids.", show_default=False)],
    *,
    collection: CollectionOption = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    profile: ProfileOption = None,
) -> None:
    """Delete documents by id; searches stop finding them at once."""
    with connect(url, api_key, profile) as client:
        name = sole_collection(client, collection)
        for document_id in document_ids:
            client.delete_document(name, document_id)
    if as_json:
        print_json({"deleted": document_ids})
    else:
        messages().print(f"Deleted {len(document_ids)} from {name}.")


def _all(client: Ragserve, collection: str) -> Iterator[DocumentOut]:
    offset = 0
    while True:
        page = client.list_documents(collection, offset=offset, limit=PAGE_DOCUMENTS)
        yield from page.documents
        offset += len(page.documents)
        if not page.documents or offset >= page.total:
            return
