"""Questions without a pause, and what became of them in each phase of an outage."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx


@dataclass(frozen=True, slots=True)
class Ending:
    """How one request ended. `status` 0 is a broken connection."""

    at_s: float
    seconds: float
    status: int
    degraded: tuple[str, ...]
    retry_after: bool

    @property
    def whole(self) -> bool:
        return self.status == 200 and not self.degraded


@dataclass(slots=True)
class Load:
    """The endings so far; `mark` begins a phase."""

    endings: list[Ending] = field(default_factory=list)
    marks: dict[str, float] = field(default_factory=dict)

    def mark(self, phase: str) -> None:
        self.marks[phase] = time.monotonic()

    def of(self, begin: str, end: str | None = None) -> list[Ending]:
        until = self.marks[end] if end else float("inf")
        return [e for e in self.endings if self.marks[begin] <= e.at_s < until]

    def recovery_s(self) -> float | None:
        """From the dependency's return to the first of ten whole answers in a row."""
        run: list[Ending] = []
        for ending in self.of("back"):
            run = [*run, ending] if ending.whole else []
            if len(run) == 10:
                return round(run[0].at_s - self.marks["back"], 1)
        return None


def p95_ms(endings: list[Ending]) -> float:
    times = sorted(ending.seconds for ending in endings)
    return round(1000 * times[int(0.95 * (len(times) - 1))], 1) if times else 0.0


@asynccontextmanager
async def asking(
    client: httpx.AsyncClient, *, callers: int, collection: str, question: str
) -> AsyncIterator[Load]:
    """`callers` who ask again and again, each another question."""
    load = Load()
    numbers = itertools.count()

    async def ask() -> None:
        while True:
            began_s = time.monotonic()
            body = {"collection": collection, "question": f"{question} ({next(numbers)})"}
            try:
                answer = await client.post("/v1/query", json=body | {"max_tokens": 16})
                degraded = answer.json().get("degraded", []) if answer.status_code == 200 else []
                status, told = answer.status_code, "retry-after" in answer.headers
            except httpx.HTTPError:
                degraded, status, told = [], 0, False
            now_s = time.monotonic()
            load.endings.append(Ending(now_s, now_s - began_s, status, tuple(degraded), told))
            await asyncio.sleep(0.02)  # whoever is refused does not come back at once

    tasks = [asyncio.create_task(ask()) for _ in range(callers)]
    try:
        yield load
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def summary(load: Load) -> dict[str, object]:
    """One row of the table in docs/resilience.md."""
    during, after = load.of("out", "back"), load.of("back")
    return {
        "requests": len(load.of("begin")),
        "statuses": dict(Counter(ending.status for ending in during)),
        "rungs": dict(Counter(rung for ending in during for rung in ending.degraded)),
        "p95_ms_before": p95_ms(load.of("begin", "out")),
        "p95_ms_during": p95_ms(during),
        "p95_ms_after": p95_ms(after[-len(after) // 2 :]),
        "recovered_s": load.recovery_s(),
    }
