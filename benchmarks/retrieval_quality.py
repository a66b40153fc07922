"""How often is the answer among the passages found? Real questions, through the running service.

The questions of three FAQs (`benchmarks.faq`) and the pages of four manuals around them go into a
collection over HTTP, as an operator's own documents would, and every question is asked of
`/v1/search` in each way of searching. An answer counts as found where its first passage stands:
nDCG@10 is 1 / log2(1 + rank), MRR@10 is 1 / rank, recall@k the share of answers among the first k.
Beside it nDCG@10 over all passages of the answers, most of which are several passages long.

The defaults were chosen on one half of the questions (by a hash of their text); what is claimed is
of the other half. `--quick` asks fewer questions among fewer pages, which is easier: its figures
are no result, and no aim but the order of the ways is held against them.

    python -m benchmarks.retrieval_quality
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.faq import FAQS, MANUALS, Question, fetch, is_held_out, manual_pages, read_questions
from benchmarks.reporting import Claim, arguments, finish, progress
from benchmarks.system import Bench, running
from serve_app.client import Ragserve, Upload
from serve_app.schemas import SearchIn, TextDocument, TextDocuments

FOLDER = Path("/tmp/ragserve-faq")
COLLECTION = "faq"
FOUND = 10
"""Passages asked for."""
AIM = 0.77
WAYS: Mapping[str, Mapping[str, Any]] = {
    "dense": {"mode": "dense", "rerank": False},
    "lexical": {"mode": "lexical", "rerank": False},
    "hybrid, ranks (RRF)": {"fusion": "rrf", "rerank": False},
    "hybrid": {"rerank": False},
    "hybrid, reranked": {"rerank": True},
}
SINGLE = ("dense", "lexical")
DEFAULT, BEST = "hybrid", "hybrid, reranked"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything: questions and manual pages, every so many of those there are."""

    questions: int
    pages: Mapping[str, int]


FULL = Plan(1_000, {"python": 130, "handbook": 127, "policy": 9, "postgresql": 190})
QUICK = Plan(48, {"python": 4, "handbook": 8, "policy": 1, "postgresql": 6})


@dataclass(frozen=True, slots=True)
class Asked:
    """One question in one way: the ranks (from 1) of its answer's passages among those found."""

    way: str
    held_out: bool
    ranks: tuple[int, ...]
    passages: int
    """How many passages its answer has."""

    @property
    def first(self) -> float:
        return self.ranks[0] if self.ranks else math.inf


def main() -> int:
    """Ingest, ask, judge."""
    parser = arguments(__doc__)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--precision", choices=["fp32", "int8"], default="fp32")
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    root = fetch(FOLDER, (*FAQS, *MANUALS))
    questions = read_questions(root)
    questions = questions[:: max(1, len(questions) // plan.questions)]
    rag = {
        "embedding": {"precision": options.precision},
        "reranking": {"engine": "maxsim"},
    }
    with running(rag=rag) as bench:
        chunks = _ingest(bench, questions, _pages(root, plan))
        seen = _ask_all(bench, questions, options)
    return _report(seen, chunks, len(questions), options)


def _pages(root: Path, plan: Plan) -> list[Path]:
    found = manual_pages(root)
    return [page for name, count in plan.pages.items() for page in found[name][:count]]


def _ingest(bench: Bench, questions: Sequence[Question], pages: Sequence[Path]) -> int:
    """Take everything in; the number of passages."""
    with bench.client() as client:
        client.create_collection(COLLECTION)
        jobs = []
        for first in range(0, len(questions), 200):
            documents = [
                TextDocument(
                    id=_document(number),
                    title=question.title,
                    text=question.answer,
                    content_type="text/plain",
                )
                for number, question in enumerate(questions[first : first + 200], first)
            ]
            jobs.append(client.add_texts(COLLECTION, TextDocuments(documents=documents)))
        for first in range(0, len(pages), 100):
            uploads = [
                Upload(page, f"{page.parent.name}/{page.name}")
                for page in pages[first : first + 100]
            ]
            jobs.append(client.upload(COLLECTION, uploads))
        begun = time.perf_counter()
        for job in jobs:
            _wait(client, job.id)
        chunks = client.get_collection(COLLECTION).chunks
    progress(f"{chunks} passages are searchable after {time.perf_counter() - begun:.0f} s")
    return chunks


def _wait(client: Ragserve, job_id: str) -> None:
    job = client.wait(job_id, timeout_s=3600)
    if job.state != "COMPLETED":
        raise RuntimeError(f"a job did not do its work: {job}")
    if job.progress.files_failed:
        progress(f"{job.progress.files_failed} files could not be read")


def _ask_all(
    bench: Bench, questions: Sequence[Question], options: argparse.Namespace
) -> list[Asked]:
    with bench.client() as client:
        lengths = _answer_lengths(client)
        seen: list[Asked] = []
        for way in options.ways:
            begun = time.perf_counter()

            def ask(number: int, way: str = way) -> Asked:
                question = questions[number]
                passages = lengths[_document(number)]
                ranks = _search(client, question.text, number, WAYS[way])
                return Asked(way, is_held_out(question.text), ranks, passages)

            # Two at a time: to wait for the answers one by one leaves a core idle.
            with ThreadPoolExecutor(2) as pool:
                seen += pool.map(ask, range(len(questions)))
            progress(f"{way}: {time.perf_counter() - begun:.0f} s")
    return seen


def _answer_lengths(client: Ragserve) -> dict[str, int]:
    lengths: dict[str, int] = {}
    while page := client.list_documents(COLLECTION, offset=len(lengths), limit=200).documents:
        lengths |= {document.id: document.chunks for document in page}
    return lengths


def _search(
    client: Ragserve, question: str, number: int, way: Mapping[str, Any]
) -> tuple[int, ...]:
    """The ranks of the answer's passages. A degraded search is none and stops the run."""
    body = SearchIn(collection=COLLECTION, query=question, top_k=FOUND, on_degraded="fail", **way)
    found = client.search(body)
    return tuple(
        passage.number for passage in found.passages if passage.document_id == _document(number)
    )


def _document(number: int) -> str:
    return f"answer-{number}"


def figures(seen: Sequence[Asked]) -> dict[str, float]:
    """Means over questions.

    Raises:
        ValueError: there are none.
    """
    if not seen:
        raise ValueError("no question was asked")
    count = len(seen)
    return {
        "nDCG@10": sum(1 / math.log2(1 + asked.first) for asked in seen) / count,
        "recall@1": sum(asked.first <= 1 for asked in seen) / count,
        "recall@5": sum(asked.first <= 5 for asked in seen) / count,
        "recall@10": sum(asked.first <= FOUND for asked in seen) / count,
        "MRR@10": sum(1 / asked.first for asked in seen) / count,
        "passages nDCG@10": sum(map(_passages_ndcg, seen)) / count,
    }


def _passages_ndcg(asked: Asked) -> float:
    ideal = sum(1 / math.log2(1 + rank) for rank in range(1, min(FOUND, asked.passages) + 1))
    return sum(1 / math.log2(1 + rank) for rank in asked.ranks) / ideal


def _report(seen: Sequence[Asked], chunks: int, questions: int, options: argparse.Namespace) -> int:
    halves = {
        (way, held_out): figures([a for a in seen if a.way == way and a.held_out is held_out])
        for way in options.ways
        for held_out in (True, False)
    }
    rows = [
        {
            "search": way,
            **{name: round(value, 3) for name, value in halves[way, True].items()},
            "tuned half": round(halves[way, False]["nDCG@10"], 3),
        }
        for way in options.ways
    ]
    ndcg = {way: halves[way, True]["nDCG@10"] for way in options.ways}
    claims = []
    if not options.quick:
        claims += [
            Claim(f"nDCG@10, {way}", ndcg[way], "", AIM, at_least=True)
            for way in (DEFAULT, BEST)
            if way in ndcg
        ]
    if DEFAULT in ndcg and all(way in ndcg for way in SINGLE):
        best = max(ndcg[way] for way in SINGLE)
        claims.append(
            Claim(f"{DEFAULT} over the best single retriever", ndcg[DEFAULT] / best, "x", 1.0, True)
        )
    held_out = sum(asked.held_out for asked in seen) // len(options.ways)
    notes = [
        f"{questions} questions, {held_out} of them held out and reported, among {chunks} passages."
    ]
    return finish(rows, claims, notes=notes, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
