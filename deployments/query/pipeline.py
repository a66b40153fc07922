"""One question, from the door to a cited answer.

The pipeline runs inside the ingress replica and waits on others: the embedder, the store, the
model. Whoever stops listening stops all of them, for every stage is awaited inside the caller's
iterator and closed in its `finally`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace

from deployments.contracts.embedding import Embedder
from deployments.contracts.generation import Generator
from deployments.contracts.jobs import Snapshot, Visibility
from deployments.contracts.query import (
    Answer,
    AnswerCache,
    DoneEvent,
    PassagesEvent,
    QueryEvent,
    QueryRequest,
    SearchResult,
    TokenEvent,
)
from deployments.contracts.reranking import Reranker
from deployments.contracts.retrieval import VectorStore
from deployments.errors import GenerationUnavailable
from deployments.metrics import UNCOUNTED, Metrics
from deployments.query.answer_cache import answer_key, pack, unpack
from deployments.query.answering import Answering, Question
from deployments.query.counting import QueryCounts
from deployments.query.deadline import Deadline
from deployments.query.degradation import Ladder
from deployments.query.descriptions import Descriptions
from deployments.query.flights import Flights
from deployments.query.retrieval import Inquiry, Retriever
from deployments.query.rewrite import standalone_question
from deployments.query.settings import QuerySettings
from deployments.query.timings import StageTimings
from deployments.resilience.retries import Retry

FLIGHT_LEASE_S = 10.0
"""Another replica that is silent for so long after it began to answer may be dead."""
FLIGHT_WAIT_S = 20.0
"""Nobody waits longer, nor more than half of their time, for another replica's answer."""


@dataclass(frozen=True, slots=True)
class _Call:
    """One request on its way."""

    request: QueryRequest
    deadline: Deadline
    timings: StageTimings
    ladder: Ladder
    snapshots: Mapping[str, Snapshot]
    queued_s: float


class QueryPipeline:
    """Answers questions; holds no state but what it remembers of models and sentences."""

    def __init__(
        self,
        embedder: Embedder,
        store: VectorStore,
        visibility: Visibility,
        generator: Generator,
        *,
        reranker: Reranker | None = None,
        cache: AnswerCache | None = None,
        settings: QuerySettings | None = None,
        retry: Retry | None = None,
        metrics: Metrics = UNCOUNTED,
    ) -> None:
        self._counts = QueryCounts(metrics)
        self._settings = settings or QuerySettings()
        self._settings_repr = repr(self._settings)
        self._visibility = visibility
        self._cache = cache
        self._flights = Flights()
        self._descriptions = Descriptions(
            embedder, store, generator, self._settings.description_ttl_s
        )
        self._retriever = Retriever(
            embedder, store, reranker, self._settings, self._descriptions, retry or Retry(), cache
        )
        self._answering = Answering(embedder, generator, self._settings, self._descriptions)

    async def search(self, request: QueryRequest, deadline: Deadline | None = None) -> SearchResult:
        """Passages for the question, no answer.

        Raises:
            RagserveError: as `Retriever.retrieve` says.
        """
        call = await self._begin(request, deadline)
        retrieved = await self._retriever.retrieve(self._inquiry(call), vector_wanted=False)
        timings_ms = _timings(call.timings.read(), call)
        result = SearchResult(retrieved.passages, timings_ms, call.ladder.rungs)
        self._counts.found(result)
        return result

    async def answer(self, request: QueryRequest, deadline: Deadline | None = None) -> Answer:
        """The whole answer at once; raises what `stream` raises."""
        return await whole_answer(self.stream(request, deadline))

    async def stream(
        self, request: QueryRequest, deadline: Deadline | None = None
    ) -> AsyncGenerator[QueryEvent, None]:
        """PassagesEvent, then TokenEvents, then DoneEvent with the answer.

        Raises:
            StoreUnavailable: the store is out and no kept answer is valid.
            GenerationUnavailable: the model failed in the middle of its answer, or it is out
                and the caller wants no lesser answer.
            DeadlineExceeded: naming the stage.
            Overloaded, CallerError: from the stages, as they are.
        """
        call = await self._begin(request, deadline)
        async with aclosing(await self._events(call)) as events:
            async for event in events:
                if isinstance(event, DoneEvent):
                    done = _timed(event, call)
                    self._counts.answered(done.answer)
                    yield done
                else:
                    yield event

    async def _begin(self, request: QueryRequest, deadline: Deadline | None) -> _Call:
        deadline = deadline or Deadline.after(self._settings.deadline_s)
        queued_s = deadline.elapsed_s()
        async with deadline.within("queue"):
            snapshots = {
                name: await self._visibility.snapshot(name) for name in request.collections
            }
        return _Call(
            request, deadline, StageTimings(), Ladder(request.on_degraded), snapshots, queued_s
        )

    async def _events(self, call: _Call) -> AsyncGenerator[QueryEvent, None]:
        """The kept answer, another's generation under way, or one of one's own."""
        key = await self._key(call)
        if key is None:
            return self._fresh(call)
        kept = await self._kept(key, call)
        if kept is not None:
            return _replay(kept)
        return self._flights.join(key, call.deadline, lambda: self._keeping(key, call))

    async def _key(self, call: _Call) -> str | None:
        """None where an answer must be neither kept nor shared."""
        if not call.request.cache or any(s.stale for s in call.snapshots.values()):
            return None
        model = ""
        if call.request.answer == "generate":
            try:
                async with call.deadline.within("queue"):
                    model = (await self._descriptions.generation_model()).name
            except GenerationUnavailable:
                return None
        epochs = [snapshot.epoch for snapshot in call.snapshots.values()]
        return answer_key(call.request, epochs, model, self._settings_repr)

    async def _kept(self, key: str, call: _Call) -> Answer | None:
        if self._cache is None:
            return None
        async with call.deadline.within("queue"):
            data = await self._cache.get(key)
        if data is None and self._cache.out:
            call.ladder.note("uncached")
        return None if data is None else unpack(data)

    async def _keeping(self, key: str, call: _Call) -> AsyncGenerator[QueryEvent, None]:
        """One generation for all replicas: another's answer, or a fresh one that is kept."""
        if self._cache is None or call.request.answer != "generate":
            source = self._kept_after(key, call)
        else:
            source = self._led(key, call, self._cache)
        async with aclosing(source) as events:
            async for event in events:
                yield event

    async def _led(
        self, key: str, call: _Call, cache: AnswerCache
    ) -> AsyncGenerator[QueryEvent, None]:
        wait_s = min(FLIGHT_WAIT_S, call.deadline.remaining_s() / 2)
        async with cache.flight(key, lease_s=FLIGHT_LEASE_S, wait_s=wait_s) as data:
            kept = None if data is None else unpack(data)
            source = self._kept_after(key, call) if kept is None else _replay(kept)
            async with aclosing(source) as events:
                async for event in events:
                    yield event

    async def _kept_after(self, key: str, call: _Call) -> AsyncGenerator[QueryEvent, None]:
        """A fresh answer, kept before its last event is out: then nobody may be listening."""
        async with aclosing(self._fresh(call)) as events:
            async for event in events:
                if isinstance(event, DoneEvent) and not event.answer.degraded and self._cache:
                    await self._cache.set(key, pack(event.answer), self._settings.answer_ttl_s)
                yield event

    async def _fresh(self, call: _Call) -> AsyncGenerator[QueryEvent, None]:
        inquiry = self._inquiry(call)
        retrieved = await self._retriever.retrieve(inquiry, vector_wanted=True)
        yield PassagesEvent(retrieved.passages, call.ladder.rungs)
        question = Question(
            call.request, inquiry.text, retrieved, call.deadline, call.timings, call.ladder
        )
        async with aclosing(self._answering.stream(question)) as events:
            async for event in events:
                yield event

    def _inquiry(self, call: _Call) -> Inquiry:
        request = call.request
        return Inquiry(
            snapshots=call.snapshots,
            text=standalone_question(request.question, request.history),
            options=request.options,
            deadline=call.deadline,
            timings=call.timings,
            ladder=call.ladder,
            cache=request.cache,
        )


async def whole_answer(stream: AsyncGenerator[QueryEvent, None]) -> Answer:
    """The answer at the end of a stream; raises what the stream raises."""
    async with aclosing(stream) as events:
        async for event in events:
            if isinstance(event, DoneEvent):
                return event.answer
    raise GenerationUnavailable("The answer ended before it was done.")


async def _replay(answer: Answer) -> AsyncGenerator[QueryEvent, None]:
    yield PassagesEvent(answer.passages, answer.degraded)
    yield TokenEvent(answer.text)
    yield DoneEvent(replace(answer, timings_ms={}))


def _timed(event: DoneEvent, call: _Call) -> DoneEvent:
    """The answer with this caller's own times at both ends; the stages may be another's."""
    return DoneEvent(replace(event.answer, timings_ms=_timings(event.answer.timings_ms, call)))


def _timings(stages_ms: Mapping[str, float], call: _Call) -> dict[str, float]:
    ends = StageTimings()
    ends.add("queue", call.queued_s)
    ends.add("total", call.deadline.elapsed_s())
    return {**stages_ms, **ends.read()}
