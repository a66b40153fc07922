"""What is tried again, how often, and for how long."""

from __future__ import annotations

import asyncio

import pytest

from deployments.errors import (
    DamagedDocument,
    EmbeddingUnavailable,
    ModelNotFound,
    Overloaded,
    StoreUnavailable,
)
from deployments.resilience.retries import CALL, OUTAGE, Retry


class Flaky:
    """Fails so often, then answers."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.calls = 0
        self._failures = failures
        self._error = error or StoreUnavailable("out")

    async def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self._failures:
            raise self._error
        return "answer"


class Naps:
    """A sleep that takes no time and remembers how long it should have taken."""

    def __init__(self) -> None:
        self.slept_s: list[float] = []

    async def __call__(self, duration_s: float) -> None:
        self.slept_s.append(duration_s)


async def test_a_call_is_tried_three_times_one_to_ten_seconds_apart() -> None:
    action, naps = Flaky(2), Naps()
    assert await CALL.call(action, sleep=naps) == "answer"
    assert action.calls == 3
    assert all(1 <= nap <= 10 for nap in naps.slept_s)
    action = Flaky(3)
    with pytest.raises(StoreUnavailable):
        await CALL.call(action, sleep=naps)
    assert action.calls == 3


async def wrapped(action: Flaky) -> str:
    return await action()


async def test_what_a_lambda_returns_is_awaited() -> None:
    action = Flaky(1)
    assert await CALL.call(lambda: wrapped(action), sleep=Naps()) == "answer"


@pytest.mark.parametrize("error", [EmbeddingUnavailable(), Overloaded(retry_after_s=1)])
async def test_what_may_pass_by_itself_is_tried_again(error: Exception) -> None:
    assert await CALL.call(Flaky(1, error), sleep=Naps()) == "answer"


@pytest.mark.parametrize("error", [DamagedDocument(), ModelNotFound(), ValueError()])
async def test_what_stays_wrong_is_not_tried_again(error: Exception) -> None:
    action = Flaky(1, error)
    with pytest.raises(type(error)):
        await CALL.call(action, sleep=Naps())
    assert action.calls == 1


async def test_a_cancelled_wait_ends_at_once() -> None:
    action = Flaky(100)
    waiting = asyncio.create_task(OUTAGE.call(action))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert action.calls == 1


async def test_patience_is_spent_by_waiting_and_not_by_work() -> None:
    naps = Naps()
    with pytest.raises(StoreUnavailable):
        await OUTAGE.call(Flaky(10_000), sleep=naps)
    assert 900 <= sum(naps.slept_s) <= 900 + OUTAGE.max_wait_s

    async def work_for_long_then_fail_once() -> str:
        await asyncio.sleep(0.05)
        return await action()

    action = Flaky(1)
    impatient = Retry(attempts=None, patience_s=0.01, min_wait_s=0.001, max_wait_s=0.001)
    assert await impatient.call(work_for_long_then_fail_once) == "answer"


async def test_who_waits_is_told_why() -> None:
    told: list[BaseException] = []
    await CALL.call(Flaky(2), on_wait=told.append, sleep=Naps())
    assert [type(error) for error in told] == [StoreUnavailable] * 2
