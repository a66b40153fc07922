"""The RateLimiter's contract, and the arithmetic behind it."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from deployments.contracts.limits import RateLimit, RateLimiter
from deployments.errors import ConfigurationError
from deployments.state.keys import Keys
from deployments.state.limits import RedisRateLimiter
from deployments.state.memory.limits import MemoryRateLimiter

LIMITS = {
    "generation": RateLimit(amount=10, period_s=60),
    "tokens": RateLimit(amount=1000, period_s=60),
    "quick": RateLimit(amount=4, period_s=1),
}


@pytest.fixture(params=["memory", "valkey"])
def limiter(request: pytest.FixtureRequest) -> RateLimiter:
    if request.param == "memory":
        return MemoryRateLimiter(LIMITS)
    client: Redis = request.getfixturevalue("client")
    return RedisRateLimiter(client, LIMITS, Keys(f"t{uuid.uuid4().hex}"))


async def test_the_eleventh_of_ten_is_refused(limiter: RateLimiter) -> None:
    verdicts = [await limiter.hit("generation", "alice") for _ in range(11)]

    assert [verdict.allowed for verdict in verdicts] == [True] * 10 + [False]
    assert [verdict.remaining for verdict in verdicts] == [*range(9, -1, -1), 0]
    assert {verdict.limit for verdict in verdicts} == {10}
    assert 0 < verdicts[-1].reset_after_s <= 120


async def test_callers_and_buckets_are_counted_apart(limiter: RateLimiter) -> None:
    for _ in range(10):
        await limiter.hit("generation", "alice")

    assert (await limiter.hit("generation", "bob")).allowed
    assert (await limiter.hit("tokens", "alice")).allowed
    assert not (await limiter.hit("generation", "alice")).allowed


async def test_a_hit_may_cost_more_than_one_and_a_refused_one_costs_nothing(
    limiter: RateLimiter,
) -> None:
    assert (await limiter.hit("tokens", "alice", cost=900)).remaining == 100
    assert not (await limiter.hit("tokens", "alice", cost=200)).allowed
    assert (await limiter.hit("tokens", "alice", cost=100)).allowed


async def test_one_that_costs_more_than_the_limit_is_never_let_through(
    limiter: RateLimiter,
) -> None:
    verdict = await limiter.hit("tokens", "alice", cost=2000)
    assert not verdict.allowed
    assert verdict.reset_after_s == 0.0


async def test_who_waits_as_long_as_told_is_let_through(limiter: RateLimiter) -> None:
    refused = 0
    for _ in range(6):
        verdict = await limiter.hit("quick", "alice")
        if not verdict.allowed:
            refused += 1
            await asyncio.sleep(verdict.reset_after_s + 0.02)
            assert (await limiter.hit("quick", "alice")).allowed
    assert refused


async def test_of_many_at_once_only_as_many_as_allowed_get_through(limiter: RateLimiter) -> None:
    verdicts = await asyncio.gather(*(limiter.hit("generation", "alice") for _ in range(30)))
    assert sum(verdict.allowed for verdict in verdicts) == 10


async def test_a_bucket_nobody_configured_is_an_operators_error(limiter: RateLimiter) -> None:
    with pytest.raises(ConfigurationError):
        await limiter.hit("typo", "alice")


@given(
    amount=st.integers(1, 20),
    period_s=st.integers(1, 100),
    steps=st.lists(st.tuples(st.floats(0, 150), st.integers(1, 5)), max_size=40),
)
def test_the_wait_that_a_refusal_names_is_enough_and_no_window_overflows(
    amount: int, period_s: int, steps: list[tuple[float, int]]
) -> None:
    now_s = [0.0]

    async def scenario() -> None:
        limiter = MemoryRateLimiter({"b": RateLimit(amount, period_s)}, lambda: now_s[0])
        taken: list[tuple[float, int]] = []
        for pause_s, cost in steps:
            now_s[0] += pause_s
            verdict = await limiter.hit("b", "k", cost)
            if verdict.allowed:
                taken.append((now_s[0], cost))
            elif cost <= amount:
                now_s[0] += verdict.reset_after_s + 1e-3 * period_s
                assert (await limiter.hit("b", "k", cost)).allowed
                taken.append((now_s[0], cost))
            # Two counters approximate a window: never more than twice the limit in one.
            recent = sum(cost for at_s, cost in taken if at_s > now_s[0] - period_s)
            assert recent <= 2 * amount

    asyncio.run(scenario())
