from __future__ import annotations

import asyncio

import pytest

from deployments.errors import DeadlineExceeded
from deployments.query.deadline import Deadline
from deployments.query.timings import StageTimings


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_time_runs_down_to_nothing_and_not_below() -> None:
    clock = Clock()
    deadline = Deadline.after(5, clock)
    clock.now_s += 3
    assert deadline.remaining_s() == 2
    assert deadline.elapsed_s() == 3
    clock.now_s += 3
    assert deadline.remaining_s() == 0


async def test_a_stage_that_starts_too_late_does_not_run() -> None:
    clock = Clock()
    deadline = Deadline.after(5, clock)
    clock.now_s += 5
    ran = False
    with pytest.raises(DeadlineExceeded) as caught:
        async with deadline.within("search"):
            ran = True
    assert not ran
    assert caught.value.details == {"stage": "search"}
    assert "search" in caught.value.message


async def test_a_stage_that_takes_too_long_is_cut_off() -> None:
    with pytest.raises(DeadlineExceeded, match="embed"):
        async with Deadline.after(0.01).within("embed"):
            await asyncio.sleep(30)


async def test_a_timeout_of_somebody_else_is_not_mistaken_for_the_deadline() -> None:
    with pytest.raises(TimeoutError, match="theirs"):
        async with Deadline.after(30).within("embed"):
            raise TimeoutError("theirs")


def test_timings_add_up_and_count_failures() -> None:
    clock = Clock()
    timings = StageTimings(clock)

    def work() -> None:
        with timings.measure("search"):
            clock.now_s += 0.25
            raise ValueError

    for _ in range(2):
        with pytest.raises(ValueError):  # noqa: PT011
            work()
    assert timings.read() == {"search": 500.0}
