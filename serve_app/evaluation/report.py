"""What an evaluation found, over all its questions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from serve_app.evaluation.judge import Judgement
from serve_app.evaluation.retrieval import Found

FIGURES = ("ndcg", "recall", "mrr", "answered", "grounding", "faithfulness", "relevance")


@dataclass(frozen=True, slots=True)
class Result:
    """One question's. `found` is None where nothing was expected, the rest without an answer."""

    question: str
    found: Found | None = None
    answer: str | None = None
    answered: bool | None = None
    grounding: float | None = None
    judgement: Judgement | None = None

    def figures(self) -> dict[str, float]:
        """Every figure that is known, by its name."""
        known: dict[str, float | None] = {
            "answered": None if self.answered is None else float(self.answered),
            "grounding": self.grounding,
        }
        if self.found is not None:
            known |= {
                "ndcg": self.found.ndcg,
                "recall": self.found.recall,
                "mrr": self.found.reciprocal_rank,
            }
        if self.judgement is not None:
            known |= {
                "faithfulness": self.judgement.faithfulness,
                "relevance": self.judgement.relevance,
            }
        return {name: value for name, value in known.items() if value is not None}


def means(results: Iterable[Result]) -> dict[str, tuple[float, int]]:
    """The mean of each figure, and over how many questions it is known."""
    known: dict[str, list[float]] = {}
    for result in results:
        for name, value in result.figures().items():
            known.setdefault(name, []).append(value)
    return {
        name: (sum(known[name]) / len(known[name]), len(known[name]))
        for name in FIGURES
        if name in known
    }


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    """Everything, for programs."""
    return {
        "questions": len(results),
        "means": {
            name: {"value": value, "of": count} for name, (value, count) in means(results).items()
        },
        "results": [
            {"question": result.question, "answer": result.answer, **result.figures()}
            for result in results
        ],
    }
