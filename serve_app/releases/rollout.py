"""A release: apply, watch, ask, and come back by itself from a version that does not work.

Serve stops a roll-out that fails and lets the old replicas go on, but stays in that state, half
old and half new, for an operator to find. And a version that starts may still answer nonsense. So
the configuration that ran before is applied again in both cases.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from serve_app.releases.state import (
    FAILED,
    RUNNING,
    Applications,
    Serve,
    ServeConfig,
    ServeUnreachable,
    deployed_config,
)

Say = Callable[[str], None]
Smoke = Callable[[], None]
"""Asks the new version something. Raises SmokeFailed."""

POLL_S = 1.0
STEADY_LOOKS = 2
"""Serve takes a moment to notice what it was told; twice in a row is believed."""


class SmokeFailed(Exception):
    """The new version runs and does not answer as it should; the text says how."""


class RolloutFailed(Exception):
    """The new version does not run; the text says why."""


class RolledBack(Exception):
    """The release failed and the version before runs again; the text says why."""


class ReleaseFailed(Exception):
    """The release failed, and what runs now needs an operator; the text says why."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """How a configuration is brought to Serve.

    `timeout_s` is for the new version to run, and the same again for the old one to come back.
    """

    serve: Serve
    say: Say
    smoke: Smoke
    timeout_s: float = 900.0
    clock_s: Callable[[], float] = field(default=time.monotonic)
    sleep: Callable[[float], None] = field(default=time.sleep)

    def release(self, config: ServeConfig) -> Applications:
        """Bring `config` out; what runs then.

        Raises:
            RolledBack: it did not work, and the version before runs again.
            ReleaseFailed: it did not work, and there was none before, or that fails too.
            ReleaseRefused, ServeUnreachable: nothing was changed.
        """
        before = deployed_config(self.serve.applications(), config)
        self.serve.apply(config)
        try:
            after = self.settled(config)
            self.smoke()
        except (RolloutFailed, SmokeFailed) as failure:
            self._roll_back(before, str(failure))
        else:
            return after
        raise AssertionError("unreachable")

    def settled(self, config: ServeConfig) -> Applications:
        """Wait until everything in `config` runs.

        Raises:
            RolloutFailed: something has failed, or took too long.
        """
        names = [app["name"] for app in config["applications"]]
        deadline = self.clock_s() + self.timeout_s
        said, steady = "", 0
        while True:
            now = self._look()
            said = self._tell(now, names, said)
            steady = steady + 1 if _all_run(now, names) else 0
            if steady >= STEADY_LOOKS:
                return now
            if failed := [name for name in names if name in now and now[name].status in FAILED]:
                raise RolloutFailed(_why(now, failed))
            if self.clock_s() > deadline:
                late = [name for name in names if name not in now or now[name].status != RUNNING]
                raise RolloutFailed(f"not running after {self.timeout_s:.0f} s: {_why(now, late)}")
            self.sleep(POLL_S)

    def _roll_back(self, before: ServeConfig | None, why: str) -> None:
        if before is None:
            raise ReleaseFailed(f"{why} There is no version before it to go back to.")
        self.say(f"{why} Going back to the version before.")
        try:
            self.serve.apply(before)
            self.settled(before)
        except (RolloutFailed, ServeUnreachable) as failure:
            raise ReleaseFailed(f"{why} Going back failed too: {failure}") from None
        raise RolledBack(why)

    def _look(self) -> Applications:
        """What runs; nothing, while the API is silent for a moment (the head may be restarting)."""
        try:
            return self.serve.applications()
        except ServeUnreachable:
            return {}

    def _tell(self, now: Applications, names: list[str], said: str) -> str:
        states = ", ".join(f"{name} ({now[name].status.lower()})" for name in names if name in now)
        if states and states != said:
            self.say(states)
        return states or said


def _all_run(now: Applications, names: list[str]) -> bool:
    return all(name in now and now[name].status == RUNNING for name in names)


def _why(now: Applications, names: list[str]) -> str:
    told = (f"{name}: {now[name].reasons or now[name].status}" for name in names if name in now)
    missing = [f"{name}: not there" for name in names if name not in now]
    return "; ".join([*told, *missing]) + "."
