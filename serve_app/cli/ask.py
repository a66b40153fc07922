"""`ragserve ask`: a question, its answer as it is written, and where it stands."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.text import Text

from serve_app.cli.connection import JsonOption, KeyOption, ProfileOption, UrlOption, connect
from serve_app.cli.failures import UsageFailure, sentence
from serve_app.cli.output import console, duration, messages, place, print_json, safe
from serve_app.client import ClientError, Finished, PassagesFound, Ragserve, TokenReceived
from serve_app.schemas import ChatTurn, QueryIn, QueryOut

AnswerMode = Literal["generate", "extract"]
CollectionsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--collection",
        "-c",
        help="Where to look, once for each collection; may be left out if there is one.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(ask)


def ask(
    question: Annotated[
        str | None,
        typer.Argument(help="What to ask; without it, standard input, or a conversation."),
    ] = None,
    *,
    collection: CollectionsOption = None,
    extract: Annotated[
        bool, typer.Option("--extract", help="Quote the documents instead of writing an answer.")
    ] = False,
    top_k: Annotated[
        int | None, typer.Option("--top-k", "-k", min=1, max=50, help="Passages to answer from.")
    ] = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    profile: ProfileOption = None,
) -> None:
    """Ask the documents. The answer streams; its sources follow, numbered."""
    with connect(url, api_key, profile) as client:
        mode: AnswerMode = "extract" if extract else "generate"
        asker = Asker(client, places(client, collection), mode, top_k)
        if question is None and sys.stdin.isatty() and not as_json:
            _converse(asker)
            return
        question = (question if question is not None else sys.stdin.read()).strip()
        if not question:
            raise UsageFailure('There is no question; try `ragserve ask "Who signs?"`.')
        if as_json:
            print_json(client.query(asker.request(question, [])))
        else:
            asker.answer(question, [])


def sole_collection(client: Ragserve, named: str | None) -> str:
    """The collection named, or the only one there is. Raises UsageFailure."""
    if named:
        return named
    names = [collection.name for collection in client.list_collections()]
    if len(names) == 1:
        return names[0]
    if not names:
        raise UsageFailure("There is no collection yet; fill one with `ragserve ingest PATH`.")
    raise UsageFailure(f"Say which collection with --collection: {', '.join(names)}.")


def places(client: Ragserve, named: list[str] | None) -> dict[str, Any]:
    """Where to look, as a request says it. Raises UsageFailure."""
    if named and len(named) > 1:
        return {"collections": named}
    return {"collection": sole_collection(client, named[0] if named else None)}


class Asker:
    """Asks one collection, or several, and prints what comes back."""

    def __init__(
        self, client: Ragserve, places: dict[str, Any], mode: AnswerMode, top_k: int | None
    ) -> None:
        self._client = client
        self._places = places
        self._mode: AnswerMode = mode
        self._top_k = top_k
        self._out = console()
        self._notes = messages()

    def request(self, question: str, history: list[ChatTurn]) -> QueryIn:
        """The request for a question; what was not asked for is left to the server."""
        fields = {**self._places, "question": question, "answer": self._mode}
        if self._top_k is not None:
            fields["top_k"] = self._top_k
        if history:
            fields["history"] = history
        return QueryIn(**fields)

    def answer(self, question: str, history: list[ChatTurn]) -> QueryOut | None:
        """Print the answer as it comes, then its sources.

        On a terminal the streamed words are shown; in a pipe only the checked text is.
        """
        live = self._out.is_terminal
        shown = ""
        request = self.request(question, history)
        with (
            closing(self._client.stream_query(request)) as events,
            self._notes.status("Looking through the documents…") as status,
        ):
            for event in events:
                if isinstance(event, PassagesFound):
                    status.update(f"Reading {len(event.passages)} passages…")
                elif isinstance(event, TokenReceived) and live:
                    status.stop()
                    shown += event.text
                    self._out.print(safe(event.text), end="", soft_wrap=True)
                elif isinstance(event, Finished):
                    status.stop()
                    self._finish(shown, event.result)
                    return event.result
        return None

    def _finish(self, shown: str, result: QueryOut) -> None:
        if shown and shown.strip() != result.answer.strip():
            # The platform checked the text and changed it: what counts is printed whole.
            self._out.print("\n\nChecked against the passages:", style="dim")
        if shown:
            self._out.print()
        if shown.strip() != result.answer.strip():
            self._out.print(safe(result.answer), soft_wrap=True)
        self._out.print(sources(result))
        self._notes.print(remark(result), style="dim")


def sources(result: QueryOut) -> Text:
    """The cited passages, one a line, in the order of their numbers."""
    text = Text()
    cited = {citation.passage: citation for citation in result.citations}
    for number, citation in sorted(cited.items()):
        text.append(f"\n[{number}] ", style="bold cyan")
        text.append(safe(place(citation.title, citation.page, citation.heading)))
    return text


def remark(result: QueryOut) -> str:
    """How the answer came about, on one line."""
    parts = [result.model, duration(result.timings_ms.get("total", 0.0) / 1000)]
    if result.cached:
        parts.append("from the cache")
    if result.degraded:
        parts.append(f"degraded: {', '.join(result.degraded)}")
    if not result.answered:
        parts.append("no answer in the documents")
    return " · ".join(part for part in parts if part)


def _converse(asker: Asker) -> None:
    notes = messages()
    notes.print("Ask away; an empty line or Ctrl-D ends.", style="dim")
    history: list[ChatTurn] = []
    for question in _questions(notes):
        try:
            result = asker.answer(question, history[-10:])
        except ClientError as failure:
            notes.print(sentence(failure), style="red")
            continue
        if result is not None:
            history.append(ChatTurn(role="user", content=question))
            history.append(ChatTurn(role="assistant", content=result.answer))


def _questions(notes: Console) -> Iterator[str]:
    while True:
        try:
            question = notes.input(Text("\n? ", style="bold cyan")).strip()
        except EOFError:
            return
        if not question:
            return
        yield question
