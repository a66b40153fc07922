"""The rungs a question may step down while something behind it is out."""

from __future__ import annotations

from typing import Literal

from deployments.contracts.query import OnDegraded
from deployments.errors import RagserveError

Rung = Literal[
    "state_stale", "lexical_only", "rerank_skipped", "extractive", "ungrounded", "uncached"
]


class Ladder:
    """The rungs one question took, in order; a caller who asked for it gets the error instead."""

    def __init__(self, on_degraded: OnDegraded) -> None:
        self._on_degraded = on_degraded
        self._rungs: list[Rung] = []

    @property
    def rungs(self) -> tuple[Rung, ...]:
        return tuple(self._rungs)

    def step(self, rung: Rung, error: RagserveError) -> None:
        """Go on without what `error` says is out.

        Raises:
            RagserveError: `error` itself, where the caller wants no lesser answer.
        """
        if self.refused:
            raise error
        self.note(rung)

    @property
    def refused(self) -> bool:
        """Whether the caller would rather wait, or have an error, than a lesser answer."""
        return self._on_degraded == "fail"

    def note(self, rung: Rung) -> None:
        """Label what costs time and takes nothing from the answer: no caller can mind it."""
        if rung not in self._rungs:
            self._rungs.append(rung)
