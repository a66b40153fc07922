"""When a call is tried again, and for how long.

Policies are named values; the clock's side of them (`sleep`) can be injected. A budget that all
calls of a process share keeps an outage from being multiplied by everybody's retries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception
from tenacity.wait import wait_random_exponential

from deployments.errors import (
    ConfigurationError,
    DependencyError,
    ModelNotFound,
    Overloaded,
    RagserveError,
)
from deployments.metrics import RETRIES, UNCOUNTED, Metrics

Result = TypeVar("Result")
Sleep = Callable[[float], Awaitable[None]]


class RetryBudget:
    """Retries are at most `ratio` of the calls, and `reserve` more after a quiet time.

    A bucket of tokens: each call puts in `ratio` of one, each retry takes one out.
    """

    def __init__(
        self, ratio: float = 0.2, reserve: float = 10.0, metrics: Metrics = UNCOUNTED
    ) -> None:
        self._ratio = ratio
        self._reserve = reserve
        self._tokens = reserve
        self._metrics = metrics

    def called(self) -> None:
        """A call is being made for the first time."""
        self._tokens = min(self._reserve, self._tokens + self._ratio)

    def take(self) -> bool:
        """Whether a failed call may be made again."""
        granted = self._tokens >= 1
        self._tokens -= granted
        self._metrics.count(RETRIES, outcome="retried" if granted else "over_budget")
        return granted


@dataclass(frozen=True, slots=True)
class Retry:
    """Waits between `min_wait_s` and `max_wait_s`, exponential with jitter.

    Gives up after `attempts`, or once it has waited for `patience_s` in all. What the attempts
    themselves took does not count: hours of good work must not use up the patience. Nor does it
    go on where the `budget` is used up.
    """

    attempts: int | None = 3
    patience_s: float | None = None
    min_wait_s: float = 1.0
    max_wait_s: float = 10.0
    budget: RetryBudget | None = field(default=None, compare=False)

    async def call(
        self,
        action: Callable[[], Awaitable[Result]],
        *,
        on_wait: Callable[[BaseException], None] | None = None,
        remaining_s: Callable[[], float] | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> Result:
        """The action's result; its last error once attempts, patience or budget are used up.

        Only errors that may pass by themselves are tried again. The action must be idempotent.
        Nothing is waited for that would come after the caller's deadline, `remaining_s` from now.
        """

        def tell(state: RetryCallState) -> None:
            if on_wait and state.outcome and (error := state.outcome.exception()):
                on_wait(error)

        def stop(state: RetryCallState) -> bool:
            if self._used_up(state):
                return True
            if remaining_s is not None and state.upcoming_sleep >= remaining_s():
                return True
            return self.budget is not None and not self.budget.take()

        retrying = AsyncRetrying(
            retry=retry_if_exception(is_transient),
            wait=wait_random_exponential(min=self.min_wait_s, max=self.max_wait_s),
            stop=stop,
            before_sleep=tell,
            sleep=sleep,
            reraise=True,
        )

        # Tenacity would take a plain callable for a synchronous one, and not await its result.
        async def attempt() -> Result:
            return await action()

        if self.budget is not None:
            self.budget.called()
        return await retrying(attempt)

    def _used_up(self, state: RetryCallState) -> bool:
        attempts_over = self.attempts is not None and state.attempt_number >= self.attempts
        patience_over = self.patience_s is not None and state.idle_for >= self.patience_s
        return attempts_over or patience_over


CALL = Retry()
"""A call that someone waits for: 3 attempts, 1 to 10 s apart."""

OUTAGE = Retry(attempts=None, patience_s=900.0)
"""Background work sits out an outage of a quarter of an hour before it gives up."""


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed soon, with nothing changed by the caller.

    What an open breaker refuses will not: it says itself when to come back.
    """
    if isinstance(error, ModelNotFound | ConfigurationError):
        return False
    if isinstance(error, RagserveError) and error.details.get("breaker") == "open":
        return False
    return isinstance(error, DependencyError | Overloaded)
