"""Between the rooms' values and what goes over the wire."""

from __future__ import annotations

import time
from collections.abc import Sequence

from deployments.contracts.generation import Message
from deployments.contracts.jobs import FileStatus, Job
from deployments.contracts.query import Answer, Citation, QueryRequest, SearchOptions
from deployments.contracts.retrieval import Document, Passage
from deployments.retrieval.filters import parse
from serve_app import schemas


def document_out(document: Document) -> schemas.DocumentOut:
    """A document as callers see it."""
    return schemas.DocumentOut(
        id=document.id,
        title=document.title,
        source=document.source,
        content_type=document.content_type,
        content_hash=document.content_hash,
        size_bytes=document.size_bytes,
        chunks=document.chunk_count,
        ingested_at=document.ingested_at_s,
        metadata=dict(document.metadata),
    )


def job_out(job: Job, files: Sequence[FileStatus] | None = None) -> schemas.JobOut:
    """A job with its progress, and its files where they are asked for."""
    return schemas.JobOut(
        id=job.id,
        collection=job.collection,
        state=job.state.value,
        cancel_requested=job.cancel_requested,
        progress=_progress(job),
        error_code=job.error_code or None,
        error_message=job.error_message or None,
        created_at=job.created_at_s,
        started_at=job.started_at_s or None,
        ended_at=job.ended_at_s or None,
        transitions=[
            schemas.TransitionOut(state=t.state.value, at=t.at_s) for t in job.transitions
        ],
        files=None if files is None else [_file(status) for status in files],
    )


def _progress(job: Job) -> schemas.ProgressOut:
    elapsed_s = (job.ended_at_s or time.time()) - job.started_at_s if job.started_at_s else 0.0
    remaining_s = None
    if not job.state.ended and job.bytes_done and elapsed_s > 0:
        remaining_s = elapsed_s * (job.bytes_total - job.bytes_done) / job.bytes_done
    return schemas.ProgressOut(
        files_total=job.files_total,
        files_done=job.files_done,
        files_unchanged=job.files_unchanged,
        files_failed=job.files_failed,
        chunks_done=job.chunks_done,
        chunks_total=job.chunks_total,
        bytes_total=job.bytes_total,
        bytes_done=job.bytes_done,
        chunks_per_s=job.chunks_done / elapsed_s if elapsed_s > 0 else None,
        eta_s=remaining_s,
    )


def _file(status: FileStatus) -> schemas.FileOut:
    return schemas.FileOut(
        number=status.spec.number,
        document_id=status.spec.document_id,
        name=status.spec.name,
        state=status.state.value,
        size_bytes=status.spec.size_bytes,
        chunks_done=status.chunks_done,
        chunks_total=status.chunks_total,
        error_code=status.error_code or None,
        error_message=status.error_message or None,
    )


def options_of(body: schemas.Retrieval) -> SearchOptions:
    """A request's choices of how to find passages.

    Raises:
        InvalidFilter: before anything else is done with the filter.
    """
    if body.filter is not None:
        parse(body.filter)
    return SearchOptions(
        mode=body.mode,
        fusion=body.fusion,
        lexical_weight=body.lexical_weight,
        candidates=body.candidates,
        top_k=body.top_k,
        rerank=body.rerank,
        neighbours=body.neighbours,
        diversity=body.diversity,
        filter=body.filter,
    )


def query_of(body: schemas.QueryIn, scope: str) -> QueryRequest:
    """A question; `scope` keeps cached answers among callers who may see the same."""
    return QueryRequest(
        collection=body.names[0],
        also=body.names[1:],
        question=body.question,
        history=tuple(Message(turn.role, turn.content) for turn in body.history),
        options=options_of(body),
        answer=body.answer,
        max_tokens=body.max_tokens,
        temperature=body.temperature,
        cache=body.cache,
        on_degraded=body.on_degraded,
        scope=scope,
    )


def passages_out(passages: Sequence[Passage]) -> list[schemas.PassageOut]:
    """Passages with the numbers that citations use."""
    return [_passage(number, passage) for number, passage in enumerate(passages, start=1)]


def _passage(number: int, passage: Passage) -> schemas.PassageOut:
    chunk = passage.chunk
    return schemas.PassageOut(
        number=number,
        collection=passage.collection,
        document_id=chunk.document.id,
        title=chunk.document.title,
        source=chunk.document.source,
        heading=chunk.heading,
        page=chunk.page,
        start_char=chunk.start_char,
        end_char=chunk.end_char,
        text=chunk.text,
        score=passage.score,
        dense_score=passage.dense_score,
        lexical_score=passage.lexical_score,
        rerank_score=passage.rerank_score,
        metadata=dict(chunk.filterable),
    )


def answer_out(answer: Answer, request_id: str) -> schemas.QueryOut:
    """A whole answer."""
    return schemas.QueryOut(
        answer=answer.text,
        answered=answer.answered,
        citations=[_citation(citation, answer.passages) for citation in answer.citations],
        grounding=[
            schemas.SentenceOut(
                start=s.start, end=s.end, passage=s.passage, score=s.score, grounded=s.grounded
            )
            for s in answer.grounding
        ],
        grounding_score=answer.grounding_score,
        passages=passages_out(answer.passages),
        usage=schemas.UsageOut(
            prompt_tokens=answer.usage.prompt_tokens,
            completion_tokens=answer.usage.completion_tokens,
        ),
        timings_ms=dict(answer.timings_ms),
        degraded=list(answer.degraded),
        cached=answer.cached,
        model=answer.model,
        finish_reason=answer.finish_reason,
        request_id=request_id,
    )


def _citation(citation: Citation, passages: Sequence[Passage]) -> schemas.CitationOut:
    chunk = passages[citation.passage - 1].chunk
    return schemas.CitationOut(
        passage=citation.passage,
        document_id=chunk.document.id,
        title=chunk.document.title,
        page=chunk.page,
        heading=chunk.heading,
        start=citation.start,
        end=citation.end,
        quote_start=citation.quote_start,
        quote_end=citation.quote_end,
        score=citation.score,
        origin=citation.origin,
    )
