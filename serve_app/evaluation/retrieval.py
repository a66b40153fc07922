"""How well the passages found cover what was expected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from serve_app.evaluation.questions import Expectation
from serve_app.schemas import PassageOut


@dataclass(frozen=True, slots=True)
class Found:
    """One question's retrieval, each figure in 0..1.

    `ndcg` counts each expected thing at the first passage that shows it, `recall` is the share of
    things found at all, `reciprocal_rank` is of the first of them.
    """

    ndcg: float
    recall: float
    reciprocal_rank: float


def judge_found(expected: Expectation, passages: Sequence[PassageOut]) -> Found:
    """Compare the passages, best first, with a question that expects something."""
    ranks = sorted(filter(None, _ranks(expected, passages)))
    ideal = sum(_gain(rank) for rank in range(1, min(expected.things, len(passages)) + 1))
    gained = sum(_gain(rank) for rank in _apart(ranks))
    return Found(
        ndcg=min(1.0, gained / ideal) if ideal else 0.0,
        recall=len(ranks) / expected.things,
        reciprocal_rank=1 / ranks[0] if ranks else 0.0,
    )


def _ranks(expected: Expectation, passages: Sequence[PassageOut]) -> list[int | None]:
    """For each thing the rank of the first passage that shows it."""
    wanted = [
        *((document, _is_of) for document in expected.documents),
        *((_plain(text), _holds) for text in expected.passages),
    ]
    return [
        next((rank for rank, passage in enumerate(passages, 1) if shows(passage, thing)), None)
        for thing, shows in wanted
    ]


def _apart(ranks: Sequence[int]) -> list[int]:
    """Things that one passage shows together count one after the other: no rank counts twice."""
    taken: list[int] = []
    for rank in ranks:
        taken.append(max(rank, taken[-1] + 1) if taken else rank)
    return taken


def _is_of(passage: PassageOut, document: str) -> bool:
    return document in (passage.document_id, passage.source, passage.title)


def _holds(passage: PassageOut, text: str) -> bool:
    return text in _plain(passage.text)


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _gain(rank: int) -> float:
    return 1 / math.log2(1 + rank)
