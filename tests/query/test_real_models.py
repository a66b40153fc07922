"""The pipeline with the embedded models: MiniLM and SmolLM2."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from query_room import HANDBOOK, FixedVisibility, ask, handbook_chunks

from deployments.contracts.query import DoneEvent, TokenEvent
from deployments.contracts.retrieval import Collection
from deployments.embedding.onnx import OnnxEmbedder
from deployments.generation.llama_cpp import LlamaCppGenerator
from deployments.query.pipeline import QueryPipeline
from deployments.retrieval.memory import MemoryStore


@dataclass
class Engines:
    pipeline: QueryPipeline
    generator: LlamaCppGenerator


@pytest.fixture(scope="module")
async def engines() -> AsyncIterator[Engines]:
    embedder = OnnxEmbedder()
    generator = LlamaCppGenerator(parallel=1)
    store = MemoryStore()
    await store.create_collection(Collection("handbook", await embedder.model()))
    chunks = handbook_chunks()
    await store.upsert("handbook", chunks, await embedder.embed([chunk.text for chunk in chunks]))
    yield Engines(QueryPipeline(embedder, store, FixedVisibility(), generator), generator)
    await generator.aclose()
    await embedder.aclose()


async def test_every_handbook_question_is_answered_by_a_right_quotation(engines: Engines) -> None:
    for item in HANDBOOK["questions"]:
        answer = await engines.pipeline.answer(ask(item["question"], answer="extract"))
        assert answer.answered, item
        citation = answer.citations[0]
        quote = answer.passages[citation.passage - 1].chunk.text[
            citation.quote_start : citation.quote_end
        ]
        assert all(words in quote for words in item["expect"]), (item, quote)


async def test_questions_about_other_matters_are_refused(engines: Engines) -> None:
    for question in HANDBOOK["off_topic"]:
        assert not (await engines.pipeline.answer(ask(question))).answered, question


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Where do I enter the bicycle cellar?", "Mill Street"),
        ("When is the billing service released?", "Tuesday"),
    ],
)
async def test_the_small_model_answers_and_the_platform_cites(
    engines: Engines, question: str, expected: str
) -> None:
    events = [event async for event in engines.pipeline.stream(ask(question, max_tokens=48))]
    assert isinstance(events[-1], DoneEvent)
    answer = events[-1].answer
    assert expected in answer.text
    assert "".join(e.text for e in events if isinstance(e, TokenEvent)) == answer.text
    citation = answer.citations[0]
    assert citation.origin == "platform"
    quote = answer.passages[citation.passage - 1].chunk.text[
        citation.quote_start : citation.quote_end
    ]
    assert expected in quote
    assert answer.usage.completion_tokens > 0


async def test_a_reader_who_leaves_stops_the_engine(engines: Engines) -> None:
    events = engines.pipeline.stream(
        ask("What should I do when I am ill?", max_tokens=400, cache=False)
    )
    async for event in events:
        if isinstance(event, TokenEvent):
            break
    await events.aclose()
    before = await engines.generator.tokens_computed()
    await asyncio.sleep(0.3)
    assert await engines.generator.tokens_computed() - before <= 1
