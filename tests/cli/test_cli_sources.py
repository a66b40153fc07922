"""`ragserve ingest` passes URLs on to the server, which fetches them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from outcome import Command

from serve_app.client import calls
from serve_app.schemas import SourceDocuments


def test_urls_travel_to_the_documents_route_as_sources() -> None:
    body = SourceDocuments(sources=["https://example.org/a", "s3://bucket/docs"])
    call = calls.add_sources("handbook", body, "key-1")
    assert (call.method, call.path) == ("POST", "/v1/collections/handbook/documents")
    assert SourceDocuments.model_validate_json(call.body or b"") == body
    assert call.headers["Idempotency-Key"] == "key-1"


def test_urls_are_named_and_paths_are_sent(ragserve: Command, monkeypatch: Any) -> None:
    from serve_app.client import Ragserve

    named: list[list[str]] = []

    def add_sources(self: Ragserve, collection: str, sources: SourceDocuments) -> Any:
        named.append(sources.sources)
        return self.list_jobs().jobs[0]

    monkeypatch.setattr(Ragserve, "add_sources", add_sources)
    Path("local.md").write_text("# Local\n\nA local file.\n")
    outcome = ragserve("ingest", "local.md", "https://example.org/a", "s3://b/docs", "--no-wait")
    assert outcome.code == 0, outcome.err
    assert named == [["https://example.org/a", "s3://b/docs"]]
