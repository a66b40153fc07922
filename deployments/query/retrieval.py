"""From a question to the passages an answer can rest on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from deployments.contracts.embedding import Embedder, EmbeddingModel, Vectors
from deployments.contracts.jobs import Snapshot
from deployments.contracts.query import AnswerCache, SearchOptions
from deployments.contracts.reranking import Reranker
from deployments.contracts.retrieval import Passage, SearchMode, SearchRequest, VectorStore
from deployments.errors import (
    EmbeddingUnavailable,
    ModelMismatch,
    Overloaded,
    RerankUnavailable,
    StateUnavailable,
)
from deployments.query.deadline import Deadline
from deployments.query.degradation import Ladder
from deployments.query.descriptions import Descriptions
from deployments.query.diversity import diversify, without_repeats
from deployments.query.neighbours import widen
from deployments.query.question_vectors import QuestionVectors
from deployments.query.settings import QuerySettings
from deployments.query.timings import StageTimings
from deployments.resilience.retries import Retry
from deployments.retrieval.ranking import merged

SPARE = 5
"""Passages asked for beyond those served, so that repeats left out are made up for."""
DIVERSITY_POOL = 4
"""Diversity chooses among this many times the passages served."""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """One search and what travels with it. `text` stands by itself, history aside.

    `snapshots` holds the state of each collection to search, by name.
    """

    snapshots: Mapping[str, Snapshot]
    text: str
    options: SearchOptions
    deadline: Deadline
    timings: StageTimings
    ladder: Ladder
    cache: bool
    """Whether the question's vector may be one computed before, and kept."""


@dataclass(frozen=True, slots=True, eq=False)
class Retrieved:
    """Passages, best first, and the question's vector, None where there is none."""

    passages: tuple[Passage, ...]
    vector: Vectors | None


class Retriever:
    """Embeds, searches, reranks, thins out and widens, stepping down the ladder on the way."""

    def __init__(
        self,
        embedder: Embedder,
        store: VectorStore,
        reranker: Reranker | None,
        settings: QuerySettings,
        descriptions: Descriptions,
        retry: Retry,
        cache: AnswerCache | None,
    ) -> None:
        self._vectors = QuestionVectors(cache, ttl_s=settings.answer_ttl_s)
        self._retry = retry
        self._embedder = embedder
        self._store = store
        self._reranker = reranker
        self._settings = settings
        self._descriptions = descriptions

    async def retrieve(self, inquiry: Inquiry, *, vector_wanted: bool) -> Retrieved:
        """Find passages. `vector_wanted` embeds the question in lexical mode too.

        Raises:
            StoreUnavailable, CollectionNotFound, InvalidFilter: from the store.
            ModelMismatch: the collection was embedded by another model.
            DeadlineExceeded: naming the stage.
            DependencyError: a rung, where the caller wants no lesser answer.
        """
        if any(snapshot.stale for snapshot in inquiry.snapshots.values()):
            error = StateUnavailable("Redis is out: which documents are visible is not certain.")
            inquiry.ladder.step("state_stale", error)
        vector = None
        if vector_wanted or inquiry.options.mode is not SearchMode.LEXICAL:
            vector = await self._embed(inquiry)
        found = without_repeats(await self._search(inquiry, vector))
        if self._reranker is not None and self._reranks(inquiry.options):
            found = await self._rerank(inquiry, self._reranker, found)
        top_k = self._top_k(inquiry.options)
        if inquiry.options.diversity > 0:
            found = diversify(found, top_k, inquiry.options.diversity)
        found = found[:top_k]
        if inquiry.options.neighbours and found:
            async with inquiry.deadline.within("search"):
                with inquiry.timings.measure("search"):
                    found = await widen(self._store, found, inquiry.options.neighbours)
        return Retrieved(tuple(found), vector)

    def _top_k(self, options: SearchOptions) -> int:
        return options.top_k or self._settings.top_k

    def _reranks(self, options: SearchOptions) -> bool:
        wanted = self._settings.rerank if options.rerank is None else options.rerank
        return wanted and self._reranker is not None

    async def _embed(self, inquiry: Inquiry) -> Vectors | None:
        try:
            async with inquiry.deadline.within("embed"):
                with inquiry.timings.measure("embed"):
                    model = await self._descriptions.embedding_model()
                    for name in inquiry.snapshots:
                        collection = await self._descriptions.collection(name)
                        if model.name != collection.model.name:
                            raise ModelMismatch(
                                f"Collection {name!r} was embedded by {collection.model.name}, "
                                f"questions are by {model.name}.",
                                collection=name,
                            )
                    return await self._vector(inquiry, model)
        except EmbeddingUnavailable as error:
            inquiry.ladder.step("lexical_only", error)
            return None

    async def _vector(self, inquiry: Inquiry, model: EmbeddingModel) -> Vectors:
        async def embed() -> Vectors:
            first: Vectors = (await self._embedded(inquiry))[0]
            return first

        if not inquiry.cache:
            return await embed()
        return await self._vectors.of(inquiry.text, model, embed)

    async def _embedded(self, inquiry: Inquiry) -> Vectors:
        """The question's vector; only who takes no lesser answer waits for a second attempt."""
        if not inquiry.ladder.refused:
            return await self._embedder.embed([inquiry.text])
        return await self._retry.call(
            lambda: self._embedder.embed([inquiry.text]), remaining_s=inquiry.deadline.remaining_s
        )

    async def _search(self, inquiry: Inquiry, vector: Vectors | None) -> list[Passage]:
        """The best of all collections; none of them may fail."""
        requests = [self._request(inquiry, name, vector) for name in inquiry.snapshots]
        async with inquiry.deadline.within("search"):
            with inquiry.timings.measure("search"):
                found = await asyncio.gather(
                    *(self._search_one(inquiry, request) for request in requests)
                )
        return merged(requests, found)

    async def _search_one(self, inquiry: Inquiry, request: SearchRequest) -> list[Passage]:
        # There is no rung below the store, and a search can be sent again.
        return await self._retry.call(
            lambda: self._store.search(request), remaining_s=inquiry.deadline.remaining_s
        )

    def _request(self, inquiry: Inquiry, name: str, vector: Vectors | None) -> SearchRequest:
        options, settings = inquiry.options, self._settings
        limit = self._pool(options)
        weight = options.lexical_weight
        return SearchRequest(
            collection=name,
            text=inquiry.text,
            vector=vector,
            mode=options.mode if vector is not None else SearchMode.LEXICAL,
            limit=limit,
            candidates=max(limit, options.candidates or settings.candidates),
            fusion=options.fusion or settings.fusion,
            lexical_weight=settings.lexical_weight if weight is None else weight,
            filter=options.filter,
            hidden_versions=inquiry.snapshots[name].hidden_versions,
        )

    def _pool(self, options: SearchOptions) -> int:
        top_k = self._top_k(options)
        pool = top_k + SPARE
        if self._reranks(options):
            pool = max(pool, self._settings.rerank_candidates)
        if options.diversity > 0:
            pool = max(pool, DIVERSITY_POOL * top_k)
        return pool

    async def _rerank(
        self, inquiry: Inquiry, reranker: Reranker, found: list[Passage]
    ) -> list[Passage]:
        """Order by the reranker, or leave the order as it is when that is out or too slow."""
        top_k = self._top_k(inquiry.options)
        pool = found[: max(top_k, self._settings.rerank_candidates)]
        if not pool:
            return found
        patience_s = min(self._settings.rerank_timeout_s, inquiry.deadline.remaining_s() / 2)
        try:
            async with inquiry.deadline.within("rerank"):
                with inquiry.timings.measure("rerank"):
                    scores = await _patiently(reranker, inquiry.text, pool, patience_s)
        except (RerankUnavailable, Overloaded) as error:
            inquiry.ladder.step("rerank_skipped", error)
            return found
        weight = self._settings.rerank_weight
        # BM25 scores alone have no upper bound; as shares of the best they can be mixed too.
        best = max(1.0, pool[0].score)
        scored = [
            replace(
                passage,
                score=(1.0 - weight) * passage.score / best + weight * score,
                rerank_score=score,
            )
            for passage, score in zip(pool, scores, strict=True)
        ]
        return sorted(scored, key=lambda passage: -passage.score)


async def _patiently(
    reranker: Reranker, question: str, pool: Sequence[Passage], patience_s: float
) -> list[float]:
    limit = asyncio.timeout(patience_s)
    try:
        async with limit:
            return await reranker.rerank(question, [passage.chunk.text for passage in pool])
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise RerankUnavailable("The reranker took too long.") from error
