"""From passages to a cited answer: by the model, by quotation, or an honest "not found"."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

from deployments.contracts.embedding import Embedder, Vectors
from deployments.contracts.generation import GenerationRequest, Generator, Token, Usage
from deployments.contracts.query import (
    Answer,
    DoneEvent,
    FinishReason,
    QueryEvent,
    QueryRequest,
    TokenEvent,
)
from deployments.errors import EmbeddingUnavailable, GenerationUnavailable
from deployments.query.citations import MarkerFilter, answer_sentences
from deployments.query.deadline import Deadline
from deployments.query.degradation import Ladder
from deployments.query.descriptions import Descriptions
from deployments.query.evidence import Evidence, SentenceVectors, compare, weigh
from deployments.query.extract import extract
from deployments.query.grounding import Grounding, claims, ground
from deployments.query.prompt import PromptBuilder
from deployments.query.relevance import LEXICAL, observe
from deployments.query.retrieval import Retrieved
from deployments.query.settings import QuerySettings
from deployments.query.timings import StageTimings
from deployments.query.token_counts import TokenCounts

UNSUPPORTED = "No sentence of the model's answer is supported by the passages."
NOT_FOUND = "I could not find this in the documents of {places}."


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A request, the text that stands for it by itself, and what was found."""

    request: QueryRequest
    text: str
    retrieved: Retrieved
    deadline: Deadline
    timings: StageTimings
    ladder: Ladder


class Answering:
    """Answers questions from the passages found."""

    def __init__(
        self,
        embedder: Embedder,
        generator: Generator,
        settings: QuerySettings,
        descriptions: Descriptions,
    ) -> None:
        self._generator = generator
        self._settings = settings
        self._descriptions = descriptions
        self._vectors = SentenceVectors(embedder)
        self._prompts = PromptBuilder(
            TokenCounts(generator), settings.evidence, settings.prompt_sentences
        )

    async def stream(self, question: Question) -> AsyncGenerator[QueryEvent, None]:
        """TokenEvents, then DoneEvent; raises what `QueryPipeline.stream` says."""
        evidence = await self._weigh(question)
        if not await self._relevant(evidence):
            text = NOT_FOUND.format(places=_places(question.request.collections))
            yield TokenEvent(text)
            yield DoneEvent(_finish(question, text, "not_found"))
        elif question.request.answer == "extract":
            for event in self._quote(question, evidence):
                yield event
        else:
            async with aclosing(self._generate(question, evidence)) as events:
                async for event in events:
                    yield event

    async def _weigh(self, question: Question) -> Evidence:
        """The sentences of the passages against the question; by words alone without vectors."""
        with question.timings.measure("select"):
            passages = question.retrieved.passages
            evidence = weigh(question.text, passages, self._settings.max_sentences)
            vector = question.retrieved.vector
            if vector is None or not evidence.sentences:
                return evidence
            try:
                async with question.deadline.within("select"):
                    texts = [sentence.in_context for sentence in evidence.sentences]
                    return compare(evidence, await self._vectors.of(texts), vector)
            except EmbeddingUnavailable as error:
                question.ladder.step("lexical_only", error)
                return evidence

    async def _relevant(self, evidence: Evidence) -> bool:
        if not evidence.sentences:
            return False
        model = LEXICAL
        if evidence.vectors is not None:
            name = (await self._descriptions.embedding_model()).name
            model = self._settings.relevance.get(name, LEXICAL)
        return model.relevant(observe(evidence))

    def _quote(self, question: Question, evidence: Evidence) -> Sequence[QueryEvent]:
        with question.timings.measure("ground"):
            quoted = extract(evidence)
        answer = _finish(question, quoted.text, "extract", quoted.grounding)
        return (TokenEvent(quoted.text), DoneEvent(answer))

    async def _generate(
        self, question: Question, evidence: Evidence
    ) -> AsyncGenerator[QueryEvent, None]:
        text = ""
        last = Token("")
        try:
            markers, request = await self._prompt(question, evidence)
            async with aclosing(self._tokens(question, request)) as tokens:
                async for token in tokens:
                    shown = markers.feed(token.text)
                    last = token
                    if shown:
                        text += shown
                        yield TokenEvent(shown)
        except GenerationUnavailable as error:
            if text:
                raise
            question.ladder.step("extractive", error)
            for event in self._quote(question, evidence):
                yield event
            return
        rest = markers.flush()
        if rest:
            text += rest
            yield TokenEvent(rest)
        grounding = await self._ground(question, text, markers, evidence)
        reason: FinishReason = last.finish_reason or "stop"
        if not grounding.citations and self._settings.ungrounded == "replace":
            question.ladder.step("ungrounded", GenerationUnavailable(UNSUPPORTED))
            quoted = extract(evidence)
            text, grounding, reason = quoted.text, quoted.grounding, "extract"
        yield DoneEvent(
            _finish(
                question,
                text,
                reason,
                grounding,
                usage=last.usage or Usage(0, 0),
                model=(await self._descriptions.generation_model()).name,
                dropped_markers=markers.dropped,
            )
        )

    async def _prompt(
        self, question: Question, evidence: Evidence
    ) -> tuple[MarkerFilter, GenerationRequest]:
        request = question.request
        async with question.deadline.within("select"):
            with question.timings.measure("select"):
                prompt = await self._prompts.build(
                    request.question,
                    question.retrieved.passages,
                    evidence=evidence,
                    history=request.history,
                    model=await self._descriptions.generation_model(),
                    max_tokens=request.max_tokens,
                )
        return MarkerFilter(prompt.numbered), GenerationRequest(
            messages=prompt.messages,
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            timeout_s=question.deadline.remaining_s(),
        )

    async def _tokens(
        self, question: Question, request: GenerationRequest
    ) -> AsyncGenerator[Token, None]:
        """The model's tokens within the deadline; closing this closes the model's stream.

        Every wait for a token has a limit of its own: a limit around a `yield` would count, and
        could cancel, the time the reader takes.
        """
        begun_s = question.deadline.elapsed_s()
        waited = False
        stream = cast("AsyncGenerator[Token, None]", self._generator.stream(request))
        try:
            async with aclosing(stream):
                while (token := await self._next(question, stream)) is not None:
                    if token.text and not waited:
                        waited = True
                        question.timings.add("first_token", question.deadline.elapsed_s() - begun_s)
                    yield token
        finally:
            question.timings.add("generate", question.deadline.elapsed_s() - begun_s)

    async def _next(self, question: Question, stream: AsyncGenerator[Token, None]) -> Token | None:
        async with question.deadline.within("generate"):
            return await anext(stream, None)

    async def _ground(
        self, question: Question, text: str, markers: MarkerFilter, evidence: Evidence
    ) -> Grounding:
        with question.timings.measure("ground"):
            sentences = answer_sentences(text, markers.markers)
            vectors: Vectors | None = None
            if evidence.vectors is not None and sentences:
                try:
                    async with question.deadline.within("ground"):
                        vectors = await self._vectors.of(claims(question.text, sentences))
                except EmbeddingUnavailable as error:
                    question.ladder.step("lexical_only", error)
            return ground(question.text, sentences, vectors, evidence, question.retrieved.passages)


def _places(collections: Sequence[str]) -> str:
    if len(collections) == 1:
        return f"collection {collections[0]}"
    return f"collections {', '.join(collections[:-1])} and {collections[-1]}"


def _finish(
    question: Question,
    text: str,
    reason: FinishReason,
    grounding: Grounding | None = None,
    *,
    usage: Usage | None = None,
    model: str = "",
    dropped_markers: int = 0,
) -> Answer:
    """The answer with everything but the last of its timings."""
    found = grounding or Grounding()
    return Answer(
        text=text,
        answered=reason != "not_found",
        passages=question.retrieved.passages,
        citations=found.citations,
        grounding=found.sentences,
        grounding_score=found.score,
        usage=usage or Usage(0, 0),
        timings_ms=question.timings.read(),
        degraded=question.ladder.rungs,
        model=model,
        finish_reason=reason,
        dropped_markers=dropped_markers,
    )
