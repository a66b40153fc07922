"""ragserve itself, as `ragserve up` runs it, with the stand-in for its language model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import k6
from benchmarks.load import ANSWERED, COLLECTION, answered_questions, take_in
from benchmarks.peers.peer import ANSWER, SEARCH, Way
from benchmarks.peers.stand_in import LANGUAGE_MODEL
from benchmarks.system import Bench, running

FOUND = ('"passages":[{', '"degraded":[]')
HYBRID, DENSE = "hybrid", "dense"


@contextmanager
def ragserve(
    stand_in: str, pages: Sequence[Path], questions: Sequence[str]
) -> Iterator[tuple[list[Way], list[str]]]:
    """The ways to ask a system that holds the pages, and the questions that it answers."""
    rag = {
        "generation": {"engine": "openai", "parallel": 256, "context_tokens": 8192},
        "query": {"ungrounded": "flag", "deadline_s": 60.0},
    }
    surroundings = {"OPENAI_BASE_URL": f"{stand_in}/v1", "OPENAI_MODEL": LANGUAGE_MODEL}
    with running(rag=rag, surroundings=surroundings) as bench:
        take_in(bench, pages)
        asked = answered_questions(bench, questions)
        yield _ways(bench, asked), asked


def _ways(bench: Bench, questions: Sequence[str]) -> list[Way]:
    def way(name: str, kind: str, options: dict[str, Any], holds: Sequence[str]) -> Way:
        path, text = ("/v1/search", "query") if kind == SEARCH else ("/v1/query", "question")
        bodies = [{"collection": COLLECTION, text: question, **options} for question in questions]
        headers = {"Authorization": f"Bearer {bench.api_key}"}
        varies = text if kind == SEARCH else ""
        target = k6.Target(bench.url + path, headers, bodies, holds, varies=varies)
        return Way("ragserve", name, kind, target)

    return [
        way(HYBRID, SEARCH, {}, FOUND),
        way(DENSE, SEARCH, {"mode": "dense"}, FOUND),
        way("hybrid, cited", ANSWER, {"cache": False}, ANSWERED),
    ]
