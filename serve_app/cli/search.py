"""`ragserve search`: passages, without a model in between."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from deployments.contracts.retrieval import SearchMode
from serve_app.cli.ask import CollectionsOption, places
from serve_app.cli.connection import JsonOption, KeyOption, ProfileOption, UrlOption, connect
from serve_app.cli.output import console, messages, passage_lines, print_json
from serve_app.schemas import SearchIn


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(search)


def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    *,
    collection: CollectionsOption = None,
    mode: Annotated[
        SearchMode, typer.Option(help="By meaning and words, by meaning, or by words.")
    ] = SearchMode.HYBRID,
    top_k: Annotated[
        int | None, typer.Option("--top-k", "-k", min=1, max=50, help="Passages to show.")
    ] = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    profile: ProfileOption = None,
) -> None:
    """Find passages in one collection or several, best first."""
    with connect(url, api_key, profile) as client:
        fields: dict[str, Any] = {"query": query, "mode": mode}
        if top_k is not None:
            fields["top_k"] = top_k
        found = client.search(SearchIn(**places(client, collection), **fields))
    if as_json:
        print_json(found)
        return
    if not found.passages:
        messages().print("Nothing found.")
    out = console()
    for passage in found.passages:
        out.print(passage_lines(passage), end="\n\n")
