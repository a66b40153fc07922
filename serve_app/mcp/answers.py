"""What the tools give back: what an agent needs to answer and to cite, and no more."""

from __future__ import annotations

from pydantic import BaseModel

from serve_app.schemas import CitationOut, CollectionOut, JobOut, PassageOut, QueryOut, SearchOut


class FoundPassage(BaseModel):
    """A passage and where it stands."""

    number: int
    collection: str
    document: str
    source: str
    page: int | None
    heading: str
    score: float
    text: str

    @classmethod
    def of(cls, passage: PassageOut) -> FoundPassage:
        """The passage without what only programs need."""
        return cls(
            number=passage.number,
            collection=passage.collection,
            document=passage.title,
            source=passage.source,
            page=passage.page,
            heading=passage.heading,
            score=passage.score,
            text=passage.text,
        )


class Found(BaseModel):
    """The passages, best first, and what the search had to do without."""

    passages: list[FoundPassage]
    degraded: list[str]

    @classmethod
    def of(cls, found: SearchOut) -> Found:
        """What was found."""
        return cls(
            passages=[FoundPassage.of(passage) for passage in found.passages],
            degraded=found.degraded,
        )


class Citation(BaseModel):
    """The words of a document that support the sentence of the answer marked `[number]`."""

    number: int
    sentence: str
    document: str
    source: str
    page: int | None
    heading: str
    quote: str

    @classmethod
    def of(cls, citation: CitationOut, result: QueryOut) -> Citation:
        """The citation with its words, not their places."""
        passage = next(one for one in result.passages if one.number == citation.passage)
        return cls(
            number=citation.passage,
            sentence=result.answer[citation.start : citation.end],
            document=citation.title,
            source=passage.source,
            page=citation.page,
            heading=citation.heading,
            quote=passage.text[citation.quote_start : citation.quote_end],
        )


class Answer(BaseModel):
    """An answer, and whether the documents gave one."""

    answer: str
    answered: bool
    citations: list[Citation]
    degraded: list[str]

    @classmethod
    def of(cls, result: QueryOut) -> Answer:
        """The answer with what it rests on."""
        return cls(
            answer=result.answer,
            answered=result.answered,
            citations=[Citation.of(citation, result) for citation in result.citations],
            degraded=result.degraded,
        )


class CollectionSummary(BaseModel):
    """A collection and how much is in it."""

    name: str
    description: str
    documents: int

    @classmethod
    def of(cls, collection: CollectionOut) -> CollectionSummary:
        """What helps to choose."""
        return cls(
            name=collection.name,
            description=collection.description,
            documents=collection.documents,
        )


class Collections(BaseModel):
    """The collections that the key may read."""

    collections: list[CollectionSummary]


class Ingested(BaseModel):
    """How far a file has come. COMPLETED with passages: it can be found."""

    job: str
    state: str
    document: str
    passages: int
    reason: str | None

    @classmethod
    def of(cls, job: JobOut, document: str) -> Ingested:
        """The job of one file."""
        reasons = [file.error_message for file in job.files or [] if file.error_message]
        return cls(
            job=job.id,
            # One file: where it failed, so did what was asked for.
            state="FAILED" if job.progress.files_failed else job.state,
            document=document,
            passages=job.progress.chunks_done,
            reason=reasons[0] if reasons else job.error_message,
        )
