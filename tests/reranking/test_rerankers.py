"""The rerankers: one order of the same passages, here and in another replica."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence

import pytest
from fake_handles import FakeHandle

from deployments.contracts.embedding import Lane, Vectors
from deployments.contracts.engines import EngineSpec
from deployments.contracts.reranking import Reranker
from deployments.embedding.memory import HashEmbedder
from deployments.errors import EmbeddingUnavailable, RerankUnavailable
from deployments.reranking.deployment import RemoteReranker, RerankingServer
from deployments.reranking.maxsim import MaxSimReranker
from deployments.reranking.memory import OverlapReranker

QUESTION = "How long does the warranty cover repairs?"
PASSAGES = [
    "Deliveries arrive between nine and five.",
    "The warranty cover is two years; repairs are free for that long.",
    "How to paint a wall.",
]


@pytest.fixture(scope="session")
def models() -> str:
    return os.environ.get("RAGSERVE_TEST_MODELS", ".ragserve/models")


@pytest.fixture(scope="session")
async def maxsim(models: str) -> AsyncIterator[MaxSimReranker]:
    engine = EngineSpec(
        "deployments.embedding.onnx:OnnxEmbedder", {"cache_dir": models, "precision": "fp32"}
    )
    reranker = MaxSimReranker(embedder=engine)
    yield reranker
    await reranker.aclose()


@pytest.fixture
def maxsim_of_hashes() -> MaxSimReranker:
    return MaxSimReranker(embedder=HashEmbedder())


@pytest.fixture
def overlap() -> OverlapReranker:
    return OverlapReranker()


@pytest.fixture
def remote() -> RemoteReranker:
    spec = EngineSpec("deployments.reranking.memory:OverlapReranker", {})
    return RemoteReranker(FakeHandle(RerankingServer.func_or_class(spec)))


@pytest.fixture(params=["overlap", "maxsim_of_hashes", "maxsim", "remote"])
def reranker(request: pytest.FixtureRequest) -> Reranker:
    made: Reranker = request.getfixturevalue(request.param)
    return made


async def test_the_passage_that_answers_scores_highest(reranker: Reranker) -> None:
    scores = await reranker.rerank(QUESTION, PASSAGES)
    assert len(scores) == len(PASSAGES)
    assert scores.index(max(scores)) == 1


async def test_scores_follow_their_passages(reranker: Reranker) -> None:
    forwards = await reranker.rerank(QUESTION, PASSAGES)
    backwards = await reranker.rerank(QUESTION, PASSAGES[::-1])
    assert backwards[::-1] == pytest.approx(forwards, abs=1e-4)


async def test_no_passages_need_no_scores(reranker: Reranker) -> None:
    assert await reranker.rerank(QUESTION, []) == []


async def test_an_embedder_that_is_out_takes_the_reranker_with_it() -> None:
    class Out(HashEmbedder):
        async def token_vectors(
            self, texts: Sequence[str], lane: Lane = Lane.QUERY
        ) -> list[Vectors]:
            raise EmbeddingUnavailable("the engine is out")

    with pytest.raises(RerankUnavailable, match="the engine is out"):
        await MaxSimReranker(embedder=Out()).rerank(QUESTION, PASSAGES)


async def test_a_surprise_in_another_replica_is_an_outage() -> None:
    class Broken(OverlapReranker):
        async def rerank(self, question: str, passages: Sequence[str]) -> list[float]:
            raise ZeroDivisionError

    with pytest.raises(RerankUnavailable):
        await RemoteReranker(FakeHandle(Broken())).rerank(QUESTION, PASSAGES)
