"""Identical questions at the same moment are answered by one generation.

Whoever asks first starts a flight; the others get on and see every event from its beginning.
Each may leave on their own; the flight is called off when the last one has left.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from deployments.contracts.query import QueryEvent
from deployments.query.deadline import Deadline

Source = Callable[[], AsyncGenerator[QueryEvent, None]]
SLACK_S = 1.0
"""Who is willing to wait this much longer than a flight's own deadline takes another flight."""


@dataclass(slots=True, eq=False)
class _Flight:
    deadline: Deadline
    events: list[QueryEvent] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    passengers: int = 0
    landed: bool = False
    error: Exception | None = None
    task: asyncio.Task[None] | None = None

    def announce(self) -> None:
        """Wake everybody who waits for the next event."""
        self.changed.set()
        self.changed = asyncio.Event()


class Flights:
    """The generations under way in this process, by the key of their question."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight] = {}

    async def join(
        self, key: str, deadline: Deadline, source: Source
    ) -> AsyncGenerator[QueryEvent, None]:
        """The events of the flight `key`, started from `source` where there is none.

        A flight ends by the deadline of who started it. A caller with clearly more time left does
        not get on, so that another's impatience never fails them.

        Raises:
            DeadlineExceeded: the caller's own deadline passed.
            RagserveError: what ended the flight.
        """
        flight = self._flights.get(key)
        if flight is None or deadline.remaining_s() > flight.deadline.remaining_s() + SLACK_S:
            flight = _Flight(deadline)
            self._flights[key] = flight
            flight.task = asyncio.create_task(self._fly(key, flight, source))
        flight.passengers += 1
        try:
            async with aclosing(_watch(flight, deadline)) as events:
                async for event in events:
                    yield event
        finally:
            flight.passengers -= 1
            if flight.passengers == 0:
                await self._call_off(key, flight)

    async def _fly(self, key: str, flight: _Flight, source: Source) -> None:
        try:
            events = source()
            async with aclosing(events):
                async for event in events:
                    flight.events.append(event)
                    flight.announce()
        except Exception as error:  # noqa: BLE001 - raised again by every passenger
            flight.error = error
        finally:
            flight.landed = True
            self._forget(key, flight)
            flight.announce()

    async def _call_off(self, key: str, flight: _Flight) -> None:
        self._forget(key, flight)
        if flight.task is not None and not flight.task.done():
            flight.task.cancel()
            await asyncio.wait([flight.task])

    def _forget(self, key: str, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


async def _watch(flight: _Flight, deadline: Deadline) -> AsyncGenerator[QueryEvent, None]:
    seen = 0
    while True:
        while seen < len(flight.events):
            yield flight.events[seen]
            seen += 1
        if flight.landed:
            break
        changed = flight.changed
        if deadline is flight.deadline:
            await changed.wait()  # the flight's own stages keep the time, and name themselves
        else:
            async with deadline.within("shared generation"):
                await changed.wait()
    if flight.error is not None:
        raise flight.error
