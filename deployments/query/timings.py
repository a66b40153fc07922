"""How long each stage of one question took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

Stage = Literal[
    "queue", "embed", "search", "rerank", "select", "first_token", "generate", "ground", "total"
]


class StageTimings:
    """Milliseconds by stage. A stage entered twice adds up; one never entered is absent.

    `first_token` runs from the call of the model to its first piece of text, `generate` to its
    last, `total` from the door.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ms: dict[str, float] = {}

    def add(self, stage: Stage, seconds: float) -> None:
        self._ms[stage] = self._ms.get(stage, 0.0) + seconds * 1000

    @contextmanager
    def measure(self, stage: Stage) -> Iterator[None]:
        """Count the block's time, also where it fails."""
        started_s = self._clock()
        try:
            yield
        finally:
            self.add(stage, self._clock() - started_s)

    def read(self) -> Mapping[str, float]:
        """Milliseconds by stage, to the microsecond."""
        return {stage: round(ms, 3) for stage, ms in self._ms.items()}
