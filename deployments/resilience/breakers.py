"""When a dependency is left alone for a while, because asking it again would only cost time.

pybreaker keeps the state and tells who listens. What it counts (consecutive failures, and every
exception, a caller's leaving included) is not used: here a rolling window of outcomes decides, a
call that came to no verdict counts as nothing, and half open lets exactly one call through.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import pybreaker

from deployments.errors import DependencyError
from deployments.metrics import (
    BREAKER_OPENED,
    BREAKER_STATE,
    DEPENDENCY_CALLS,
    UNCOUNTED,
    Metrics,
)

BreakerState = Literal["closed", "open", "half_open"]

_STATES: dict[str, BreakerState] = {
    pybreaker.STATE_CLOSED: "closed",
    pybreaker.STATE_OPEN: "open",
    pybreaker.STATE_HALF_OPEN: "half_open",
}
_GAUGE: dict[BreakerState, float] = {"closed": 0, "half_open": 1, "open": 2}
_NEVER = 2**62
"""pybreaker's own count must not open anything."""


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """Opens for `open_s` where at least `error_ratio` of the calls failed.

    Looked at are those that ended in the last `window_s`; fewer than `min_calls` prove nothing.
    """

    error_ratio: float = 0.5
    min_calls: int = 5
    window_s: float = 10.0
    open_s: float = 30.0


@dataclass(slots=True, eq=False)
class Ticket:
    """Leave to make one call. It is settled once; `round` is that of the breaker's state."""

    round: int
    probe: bool
    settled: bool = False


class Breaker:
    """One dependency's breaker, for one event loop. `failure` is what an open one raises.

    Not thread-safe, and needs not be: nothing here waits.
    """

    def __init__(
        self,
        name: str,
        failure: type[DependencyError],
        policy: BreakerPolicy | None = None,
        *,
        metrics: Metrics = UNCOUNTED,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.failure = failure
        self._policy = policy or BreakerPolicy()
        self._metrics = metrics
        self._clock_s = clock_s
        self._outcomes: deque[tuple[float, bool]] = deque()
        self._failed = 0
        self._opened_at_s = 0.0
        self._round = 0
        self._probing = False
        self._circuit = pybreaker.CircuitBreaker(fail_max=_NEVER, name=name)
        self._show()

    @property
    def state(self) -> BreakerState:
        """`half_open` also says that the time has come and nobody has asked yet."""
        state = _STATES[self._circuit.current_state]
        return "half_open" if state == "open" and self.open_for_s <= 0 else state

    @property
    def open_for_s(self) -> float:
        """Seconds until the next call is let through, 0.0 where it would be now."""
        if self._circuit.current_state != pybreaker.STATE_OPEN:
            return 0.0
        return max(0.0, self._opened_at_s + self._policy.open_s - self._clock_s())

    @property
    def refuses(self) -> bool:
        """Whether a call would be refused just now."""
        state = self.state
        return state == "open" or (state == "half_open" and self._probing)

    def enter(self) -> Ticket:
        """Leave for one call, to be settled by `succeeded`, `failed` or `neither`.

        Raises:
            DependencyError: `failure`, at once; `retry_after_s` says when to come back.
        """
        if self.refuses:
            self._metrics.count(DEPENDENCY_CALLS, dependency=self.name, outcome="refused")
            wait_s = max(1.0, round(self.open_for_s, 1))
            raise self.failure(
                f"The {self.name} service has been failing; it is asked again in {wait_s:g} s.",
                retry_after_s=wait_s,
                breaker="open",
            )
        probe = self.state == "half_open"
        if probe:
            if self._circuit.current_state == pybreaker.STATE_OPEN:
                self._go(self._circuit.half_open)
            self._probing = True
        return Ticket(self._round, probe)

    def succeeded(self, ticket: Ticket) -> None:
        """The dependency did what was asked."""
        if not self._settle(ticket, "ok"):
            return
        if ticket.probe:
            self._go(self._circuit.close)
        else:
            self._record(failed=False)

    def failed(self, ticket: Ticket) -> None:
        """The dependency failed."""
        if not self._settle(ticket, "failed"):
            return
        if ticket.probe:
            self._open()
            return
        self._record(failed=True)
        total = len(self._outcomes)
        if total >= self._policy.min_calls and self._failed >= self._policy.error_ratio * total:
            self._open()

    def neither(self, ticket: Ticket) -> None:
        """Nobody knows: the caller left, or was at fault. The next one may probe."""
        self._settle(ticket, "neither")

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Make the block's call, and settle it by what the block raises.

        Only `failure` and its subclasses count against the dependency.

        Raises:
            DependencyError: as `enter` says.
        """
        ticket = self.enter()
        try:
            yield
        except self.failure:
            self.failed(ticket)
            raise
        except BaseException:  # cancellation and a generator's close included
            self.neither(ticket)
            raise
        self.succeeded(ticket)

    def _settle(self, ticket: Ticket, outcome: str) -> bool:
        """Whether the outcome counts: only the first, and not one from before a change of state."""
        if ticket.settled:
            return False
        ticket.settled = True
        self._metrics.count(DEPENDENCY_CALLS, dependency=self.name, outcome=outcome)
        if ticket.round != self._round:
            return False
        if ticket.probe:
            self._probing = False
        return True

    def _record(self, *, failed: bool) -> None:
        now_s = self._clock_s()
        self._outcomes.append((now_s, failed))
        self._failed += failed
        while self._outcomes[0][0] <= now_s - self._policy.window_s:
            _, old_failed = self._outcomes.popleft()
            self._failed -= old_failed

    def _open(self) -> None:
        self._opened_at_s = self._clock_s()
        self._metrics.count(BREAKER_OPENED, dependency=self.name)
        self._go(self._circuit.open)

    def _go(self, change: Callable[[], object]) -> None:
        change()
        self._probing = False
        self._round += 1
        self._outcomes.clear()
        self._failed = 0
        self._show()

    def _show(self) -> None:
        state = _STATES[self._circuit.current_state]
        self._metrics.set(BREAKER_STATE, _GAUGE[state], dependency=self.name)
