"""When a call is tried again, and for how long.

Policies are named values; the clock's side of them (`sleep`) can be injected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception
from tenacity.wait import wait_random_exponential

from deployments.errors import ConfigurationError, DependencyError, ModelNotFound, Overloaded

Result = TypeVar("Result")
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Retry:
    """Waits between `min_wait_s` and `max_wait_s`, exponential with jitter.

    Gives up after `attempts`, or once it has waited for `patience_s` in all. What the attempts
    themselves took does not count: hours of good work must not use up the patience.
    """

    attempts: int | None = 3
    patience_s: float | None = None
    min_wait_s: float = 1.0
    max_wait_s: float = 10.0

    async def call(
        self,
        action: Callable[[], Awaitable[Result]],
        *,
        on_wait: Callable[[BaseException], None] | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> Result:
        """The action's result; its last error once attempts or patience are used up.

        Only errors that may pass by themselves are tried again. The action must be idempotent.
        """

        def tell(state: RetryCallState) -> None:
            if on_wait and state.outcome and (error := state.outcome.exception()):
                on_wait(error)

        retrying = AsyncRetrying(
            retry=retry_if_exception(is_transient),
            wait=wait_random_exponential(min=self.min_wait_s, max=self.max_wait_s),
            stop=self._used_up,
            before_sleep=tell,
            sleep=sleep,
            reraise=True,
        )

        # Tenacity would take a plain callable for a synchronous one, and not await its result.
        async def attempt() -> Result:
            return await action()

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
    """Whether the same call may succeed later, with nothing changed by the caller."""
    if isinstance(error, ModelNotFound | ConfigurationError):
        return False
    return isinstance(error, DependencyError | Overloaded)
