"""What is tried again, how often, and for how long."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.errors import (
    DamagedDocument,
    EmbeddingUnavailable,
    ModelNotFound,
    Overloaded,
    StoreUnavailable,
)
from deployments.metrics import RETRIES, MemoryMetrics
from deployments.resilience.breakers import Breaker
from deployments.resilience.retries import CALL, OUTAGE, Retry, RetryBudget


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


async def test_nothing_is_waited_for_past_the_deadline() -> None:
    action, naps = Flaky(3), Naps()
    with pytest.raises(StoreUnavailable):
        await CALL.call(action, remaining_s=lambda: 0.9, sleep=naps)
    assert (action.calls, naps.slept_s) == (1, [])
    action = Flaky(1)
    assert await CALL.call(action, remaining_s=lambda: 60.0, sleep=naps) == "answer"


async def test_what_an_open_breaker_refuses_is_not_tried_again() -> None:
    breaker = Breaker("milvus", StoreUnavailable)
    while breaker.state == "closed":
        breaker.failed(breaker.enter())
    action = Flaky(0)

    async def guarded() -> str:
        with breaker.calling():
            return await action()

    naps = Naps()
    with pytest.raises(StoreUnavailable):
        await CALL.call(guarded, sleep=naps)
    assert (action.calls, naps.slept_s) == (0, [])


async def test_an_outage_is_not_multiplied_by_retries() -> None:
    metrics = MemoryMetrics()
    retry = Retry(budget=RetryBudget(ratio=0.1, reserve=5, metrics=metrics))
    actions = [Flaky(3) for _ in range(200)]
    for action in actions:
        with pytest.raises(StoreUnavailable):
            await retry.call(action, sleep=Naps())
    retries = sum(action.calls - 1 for action in actions)
    assert 20 <= retries <= 5 + 0.1 * len(actions)
    assert metrics.value(RETRIES, outcome="retried") == retries
    assert metrics.value(RETRIES, outcome="over_budget") > 0


@given(
    st.lists(st.booleans(), max_size=300),
    st.floats(0.0, 1.0),
    st.floats(0.0, 20.0),
)
def test_no_history_gets_more_retries_than_the_budget_grants(
    history: list[bool], ratio: float, reserve: float
) -> None:
    budget = RetryBudget(ratio, reserve)
    calls = retries = 0
    for is_call in history:
        if is_call:
            budget.called()
            calls += 1
        else:
            retries += budget.take()
        assert retries <= reserve + ratio * calls + 1e-6
