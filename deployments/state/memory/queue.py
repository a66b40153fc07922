"""The twin of RedisJobQueue."""

from __future__ import annotations

import asyncio

from deployments.contracts.jobs import Claim, DeadLetter
from deployments.state.memory.world import World

_POLL_S = 0.02


class MemoryJobQueue:
    """Entries in order; one without a heartbeat goes to whoever asks next."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def claim(self, consumer: str, wait_s: float = 1.0) -> Claim | None:
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + wait_s
        while True:
            claim = self._take(consumer)
            if claim is not None or loop.time() >= deadline_s:
                return claim
            await asyncio.sleep(_POLL_S)

    def _take(self, consumer: str) -> Claim | None:
        now_s = self._world.clock_s()
        abandoned_s = now_s - self._world.lifetimes.visibility_timeout_s
        held = [item for item in self._world.queue.items() if item[1].consumer]
        fresh = [item for item in self._world.queue.items() if not item[1].consumer]
        candidates = [item for item in held if item[1].seen_at_s <= abandoned_s] + fresh
        if not candidates:
            return None
        entry_id, entry = candidates[0]
        entry.consumer = consumer
        entry.deliveries += 1
        entry.seen_at_s = now_s
        return Claim(entry_id, entry.job_id, entry.collection, entry.tries + entry.deliveries)

    async def heartbeat(self, claim: Claim, consumer: str) -> bool:
        entry = self._world.queue.get(claim.entry_id)
        if entry is None or entry.consumer != consumer:
            return False
        entry.seen_at_s = self._world.clock_s()
        return True

    async def acknowledge(self, claim: Claim) -> None:
        self._world.queue.pop(claim.entry_id, None)

    async def postpone(self, claim: Claim) -> None:
        if self._world.queue.pop(claim.entry_id, None) is not None:
            self._world.enqueue(claim.job_id, claim.collection, claim.deliveries - 1)

    async def release(self, claim: Claim, consumer: str) -> None:
        entry = self._world.queue.get(claim.entry_id)
        if entry is not None and entry.consumer == consumer:
            entry.consumer = ""
            entry.deliveries -= 1

    async def bury(self, claim: Claim, reason: str) -> None:
        if self._world.queue.pop(claim.entry_id, None) is None:
            return
        self._world.dead_letters.append(
            DeadLetter(
                claim.job_id, claim.collection, claim.deliveries, reason, self._world.clock_s()
            )
        )

    async def buried(self, limit: int = 100) -> list[DeadLetter]:
        return self._world.dead_letters[::-1][:limit]

    async def depth(self) -> int:
        return len(self._world.queue)
