"""How often is the answer right, cited and cheap? Real engines, a small handbook.

Asks the handbook questions of the tests through the pipeline, once generating and once quoting.
An answer counts as right where it contains the expected words, as rightly cited where a citation's
quote does too. Prints what each stage cost, cold and with the sentence vectors warm.

    python benchmarks/answer_quality.py
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deployments.contracts.embedding import Embedder
from deployments.contracts.engines import EngineSpec
from deployments.contracts.generation import Generator
from deployments.contracts.query import Answer, QueryRequest
from deployments.contracts.retrieval import Chunk, Collection, Document
from deployments.query.pipeline import QueryPipeline
from deployments.query.settings import QuerySettings
from deployments.retrieval.memory import MemoryStore
from deployments.state.memory.visibility import MemoryVisibility
from deployments.state.memory.world import World

HANDBOOK = Path(__file__).parent.parent / "tests" / "query" / "handbook.json"
STAGES = ("embed", "search", "select", "first_token", "generate", "ground", "total")


async def load(embedder: Embedder, documents: Sequence[dict[str, Any]]) -> MemoryStore:
    """The handbook in a store, one version a document."""
    store = MemoryStore()
    await store.create_collection(Collection("handbook", await embedder.model()))
    for number, entry in enumerate(documents, 1):
        texts = entry["chunks"]
        owner = Document(
            str(number), entry["title"], "", "text/markdown", "", 1, len(texts), 0, number
        )
        chunks = [Chunk(f"{number}-{i}", i, text, owner) for i, text in enumerate(texts)]
        await store.upsert("handbook", chunks, await embedder.embed(texts))
    return store


def holds(text: str, expected: Sequence[str]) -> bool:
    """Whether the text contains every expected piece, case aside."""
    return all(words.lower() in text.lower() for words in expected)


def cites(answer: Answer, expected: Sequence[str]) -> bool:
    """Whether one citation's quote holds the expected words."""
    return any(
        holds(answer.passages[c.passage - 1].chunk.text[c.quote_start : c.quote_end], expected)
        for c in answer.citations
    )


async def ask_all(
    pipeline: QueryPipeline, book: dict[str, Any], mode: str, show: bool
) -> list[Answer]:
    """Print right, cited and grounded counts for one way of answering."""
    right = cited = flagged = wrong = 0
    answers = []
    for item in book["questions"]:
        request = QueryRequest(
            "handbook", item["question"], answer=mode, max_tokens=64, cache=False
        )  # type: ignore[arg-type]
        answer = await pipeline.answer(request)
        answers.append(answer)
        good = holds(answer.text, item["expect"])
        right += good
        cited += cites(answer, item["expect"])
        wrong += not good
        flagged += not good and not all(s.grounded for s in answer.grounding)
        if show:
            scores = [round(s.score, 2) for s in answer.grounding]
            print(f"    {'ok ' if good else 'NOT'} {scores} {item['question']} -> {answer.text!r}")
    count = len(book["questions"])
    print(
        f"{mode}: right {right}/{count}, cited {cited}/{count}, wrong but flagged {flagged}/{wrong}"
    )
    for kind in ("off_topic", "near_misses"):
        refused = [
            not (
                await pipeline.answer(QueryRequest("handbook", q, answer="extract", cache=False))
            ).answered
            for q in book[kind]
        ]
        print(f"  {kind}: refused {sum(refused)}/{len(refused)}")
    return answers


def cost(name: str, answers: Sequence[Answer]) -> None:
    """Median milliseconds by stage."""
    parts = []
    for stage in STAGES:
        known = [a.timings_ms[stage] for a in answers if stage in a.timings_ms]
        if known:
            parts.append(f"{stage} {statistics.median(known):.1f}")
    print(f"  {name}, median ms: {', '.join(parts)}")


async def measure(
    embedder: Embedder, generator: Generator, settings: QuerySettings, show: bool
) -> None:
    """One store and two passes a mode: the first one pays for the sentence vectors."""
    book = json.loads(HANDBOOK.read_text())
    store = await load(embedder, book["documents"])
    for mode in ("generate", "extract"):
        pipeline = QueryPipeline(
            embedder, store, MemoryVisibility(World()), generator, settings=settings
        )
        cost("cold", await ask_all(pipeline, book, mode, show))
        cost("warm", await ask_all(pipeline, book, mode, show=False))


def main() -> None:
    """Load both engines as plain data names them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--embedder", default="deployments.embedding.onnx:OnnxEmbedder")
    parser.add_argument("--generator", default="deployments.generation.llama_cpp:LlamaCppGenerator")
    parser.add_argument("--show", action="store_true", help="print every answer")
    parser.add_argument("--evidence", choices=["sentences", "passages"], default="sentences")
    parser.add_argument("--prompt-sentences", type=int, default=1)
    arguments = parser.parse_args()
    settings = QuerySettings(
        evidence=arguments.evidence, prompt_sentences=arguments.prompt_sentences
    )

    async def run() -> None:
        await measure(
            EngineSpec(arguments.embedder).load(),
            EngineSpec(arguments.generator).load(),
            settings,
            arguments.show,
        )

    asyncio.run(run())


if __name__ == "__main__":
    main()
