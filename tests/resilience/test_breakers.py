"""When a breaker opens, whom it lets through, and what counts."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from deployments.errors import GenerationUnavailable, InvalidRequest, ModelNotFound, Overloaded
from deployments.metrics import BREAKER_OPENED, BREAKER_STATE, DEPENDENCY_CALLS, MemoryMetrics
from deployments.resilience.breakers import Breaker, BreakerPolicy, Ticket

POLICY = BreakerPolicy()


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics() -> MemoryMetrics:
    return MemoryMetrics()


@pytest.fixture
def breaker(clock: Clock, metrics: MemoryMetrics) -> Breaker:
    return Breaker("generation", GenerationUnavailable, POLICY, metrics=metrics, clock_s=clock)


def fail(breaker: Breaker, times: int = 1, error: Exception | None = None) -> None:
    for _ in range(times):
        with pytest.raises(Exception), breaker.calling():  # noqa: B017, PT011
            raise error or GenerationUnavailable("out")


def succeed(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        with breaker.calling():
            pass


def open_it(breaker: Breaker) -> None:
    fail(breaker, POLICY.min_calls)
    assert breaker.state == "open"


def test_half_of_enough_calls_failing_opens_it_for_thirty_seconds(
    breaker: Breaker, clock: Clock
) -> None:
    succeed(breaker, 5)
    fail(breaker, 4)
    assert breaker.state == "closed"
    fail(breaker)
    assert breaker.open_for_s == 30
    clock.now_s += 29.9
    with pytest.raises(GenerationUnavailable) as refused:
        breaker.enter()
    assert refused.value.details["retry_after_s"] == 1.0
    clock.now_s += 0.2
    assert breaker.state == "half_open"


def test_a_few_failures_prove_nothing(breaker: Breaker) -> None:
    fail(breaker, POLICY.min_calls - 1)
    assert breaker.state == "closed"


def test_fewer_than_half_leave_it_closed_however_many_they_are(breaker: Breaker) -> None:
    for _ in range(200):
        succeed(breaker)
        succeed(breaker)
        fail(breaker)
    assert breaker.state == "closed"


def test_what_failed_before_the_window_is_forgotten(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, POLICY.min_calls - 1)
    clock.now_s += POLICY.window_s + 0.1
    fail(breaker)
    assert breaker.state == "closed"


def test_one_probe_at_a_time_and_its_success_closes(breaker: Breaker, clock: Clock) -> None:
    open_it(breaker)
    clock.now_s += POLICY.open_s
    probe = breaker.enter()
    for _ in range(5):
        with pytest.raises(GenerationUnavailable):
            breaker.enter()
    breaker.succeeded(probe)
    assert breaker.state == "closed"
    succeed(breaker, 50)


def test_a_failed_probe_opens_it_for_as_long_again(breaker: Breaker, clock: Clock) -> None:
    open_it(breaker)
    clock.now_s += POLICY.open_s
    fail(breaker)
    assert breaker.open_for_s == POLICY.open_s


@pytest.mark.parametrize(
    "error", [asyncio.CancelledError(), GeneratorExit(), InvalidRequest("bad"), Overloaded("full")]
)
def test_who_leaves_or_is_at_fault_counts_as_neither(
    breaker: Breaker, clock: Clock, error: BaseException
) -> None:
    for _ in range(50):
        with pytest.raises(type(error)), breaker.calling():
            raise error
    assert breaker.state == "closed"
    open_it(breaker)
    clock.now_s += POLICY.open_s
    with pytest.raises(type(error)), breaker.calling():
        raise error
    assert breaker.state == "half_open"
    succeed(breaker)
    assert breaker.state == "closed"


def test_a_failure_of_a_kind_counts_like_its_kind(breaker: Breaker) -> None:
    fail(breaker, POLICY.min_calls, ModelNotFound("gone"))
    assert breaker.state == "open"


def test_answers_to_calls_from_before_it_opened_change_nothing(
    breaker: Breaker, clock: Clock
) -> None:
    early = [breaker.enter() for _ in range(3)]
    open_it(breaker)
    breaker.succeeded(early[0])
    assert breaker.state == "open"
    clock.now_s += POLICY.open_s
    probe = breaker.enter()
    breaker.succeeded(early[1])
    assert breaker.state == "half_open"
    breaker.failed(probe)
    breaker.failed(early[2])
    assert breaker.open_for_s == POLICY.open_s


def test_states_and_calls_are_counted(
    breaker: Breaker, clock: Clock, metrics: MemoryMetrics
) -> None:
    assert metrics.value(BREAKER_STATE, dependency="generation") == 0
    open_it(breaker)
    with pytest.raises(GenerationUnavailable):
        breaker.enter()
    assert metrics.value(BREAKER_STATE, dependency="generation") == 2
    assert metrics.value(BREAKER_OPENED, dependency="generation") == 1
    clock.now_s += POLICY.open_s
    succeed(breaker)
    assert metrics.value(BREAKER_STATE, dependency="generation") == 0
    outcomes = {
        outcome: metrics.value(DEPENDENCY_CALLS, dependency="generation", outcome=outcome)
        for outcome in ("ok", "failed", "refused", "neither")
    }
    assert outcomes == {"ok": 1, "failed": POLICY.min_calls, "refused": 1, "neither": 0}


class AnyHistory(RuleBasedStateMachine):
    """Calls overlap, end in any order and in any way, while time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.breaker = Breaker("milvus", GenerationUnavailable, POLICY, clock_s=self.clock)
        self.under_way: list[Ticket] = []
        self.probes: list[Ticket] = []
        self.ended: list[tuple[float, bool]] = []
        self.opened_at_s = -1.0
        self.refused = ""

    @rule()
    def ask(self) -> None:
        before = self.breaker.state
        try:
            ticket = self.breaker.enter()
        except GenerationUnavailable:
            self.refused = before
            return
        assert before != "open", "an open breaker let a call through"
        assert ticket.probe == (before == "half_open")
        if ticket.probe:
            assert not self.probes, "two probes at once"
            self.probes.append(ticket)
        self.under_way.append(ticket)

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 10_000), how=st.sampled_from(["ok", "failed", "failed", "neither"]))
    def end(self, which: int, how: str) -> None:
        ticket = self.under_way.pop(which % len(self.under_way))
        probe = ticket in self.probes
        state = self.breaker.state
        counts = not ticket.probe and state == "closed" and ticket.round == self.round
        {
            "ok": self.breaker.succeeded,
            "failed": self.breaker.failed,
            "neither": self.breaker.neither,
        }[how](ticket)
        if probe:
            self.probes.remove(ticket)
            expected = {"ok": "closed", "failed": "open", "neither": "half_open"}[how]
            assert self.breaker.state == expected
        elif counts and how != "neither":
            self.ended.append((self.clock.now_s, how == "failed"))
            recent = [
                failed for at_s, failed in self.ended if at_s > self.clock.now_s - POLICY.window_s
            ]
            ripe = len(recent) >= POLICY.min_calls and sum(recent) >= 0.5 * len(recent)
            assert self.breaker.state == ("open" if ripe and how == "failed" else "closed")
        else:
            assert self.breaker.state == state, "a late answer changed the state"
        if self.breaker.state != "closed":
            self.ended.clear()

    @property
    def round(self) -> int:
        return self.breaker._round

    # Quarters: sums of them are exact.
    @rule(seconds=st.integers(1, 160).map(lambda quarters: quarters / 4))
    def pass_time(self, seconds: float) -> None:
        before, wait_s = self.breaker.state, self.breaker.open_for_s
        self.clock.now_s += seconds
        if before == "open":
            assert self.breaker.state == ("half_open" if seconds >= wait_s else "open")
        else:
            assert self.breaker.state == before

    @rule(failing=st.integers(10, 30))
    def burst_of_failures(self, failing: int) -> None:
        for _ in range(failing):
            if self.breaker.state == "closed":
                self.breaker.failed(self.breaker.enter())
                self.ended.append((self.clock.now_s, True))
        if self.breaker.state != "closed":
            self.ended.clear()

    @invariant()
    def closed_refuses_nobody(self) -> None:
        assert self.refused != "closed"

    @invariant()
    def never_open_for_longer_than_said(self) -> None:
        assert 0.0 <= self.breaker.open_for_s <= POLICY.open_s


AnyHistory.TestCase.settings = hypothesis_settings(
    max_examples=60, stateful_step_count=40, deadline=None
)
TestAnyHistory = AnyHistory.TestCase
