"""Who works on what: a Redis stream, one consumer group, and a stream of dead letters.

An entry belongs to one consumer from its claim to its acknowledgement. A consumer that sends no
heartbeat for the visibility timeout loses it to the next one that asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from deployments.contracts.jobs import Claim, DeadLetter
from deployments.state.connection import COMMAND_TIMEOUT_S, answering
from deployments.state.keys import Keys, Lifetimes, milliseconds
from deployments.state.records import pairs
from deployments.state.scripts import Script

GROUP = "supervisors"
_NOBODY = "nobody"
"""The consumer that entries given up belong to: it never asks for any."""
_MOST_DEAD_LETTERS = 10_000


class RedisJobQueue:
    """The JobQueue over Redis Streams; RedisJobStore writes its entries."""

    def __init__(
        self, client: Redis, keys: Keys | None = None, lifetimes: Lifetimes | None = None
    ) -> None:
        self._client = client
        self._places = {
            "queue": (keys or Keys()).queue,
            "dead_letters": (keys or Keys()).dead_letters,
        }
        self._visibility_timeout_ms = milliseconds((lifetimes or Lifetimes()).visibility_timeout_s)
        self._claim_abandoned = Script(client, "claim_abandoned", ("queue",))
        self._heartbeat = Script(client, "heartbeat", ("queue",))
        self._acknowledge = Script(client, "acknowledge", ("queue",))
        self._postpone = Script(client, "postpone", ("queue",))
        self._give_up = Script(client, "give_up", ("queue",))
        self._bury = Script(client, "bury", ("queue", "dead_letters"))

    async def claim(self, consumer: str, wait_s: float = 1.0) -> Claim | None:
        async with answering():
            await self._ensure_group()
        abandoned = await self._claim_abandoned(
            self._places,
            group=GROUP,
            consumer=consumer,
            visibility_timeout_ms=self._visibility_timeout_ms,
        )
        if abandoned:
            entry_id, flat, deliveries = abandoned
            return _claim(entry_id, pairs(flat), deliveries)
        return await self._next(consumer, wait_s)

    async def _ensure_group(self) -> None:
        """Create the group, from the first entry on, where it is not there (or not any more)."""
        try:
            await self._client.xgroup_create(self._places["queue"], GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def _next(self, consumer: str, wait_s: float) -> Claim | None:
        block_ms = milliseconds(wait_s)
        async with answering(wait_s + COMMAND_TIMEOUT_S):
            try:
                answer = await self._client.xreadgroup(
                    GROUP,
                    consumer,
                    {self._places["queue"]: ">"},
                    count=1,
                    block=block_ms or None,  # 0 would wait for ever
                )
            except ResponseError as error:
                # The stream went away while we waited: the next claim makes it anew.
                if str(error).startswith(("NOGROUP", "UNBLOCKED")):
                    return None
                raise
        for _, entries in _streams(answer):
            for entry_id, fields in entries:
                return _claim(entry_id, fields, 1)
        return None

    async def heartbeat(self, claim: Claim, consumer: str) -> bool:
        return bool(
            await self._of_entry(self._heartbeat, claim, consumer=consumer),
        )

    async def acknowledge(self, claim: Claim) -> None:
        await self._of_entry(self._acknowledge, claim)

    async def postpone(self, claim: Claim) -> None:
        # This delivery was no try at the job: it must not count towards its burial.
        await self._of_entry(
            self._postpone,
            claim,
            job_id=claim.job_id,
            collection=claim.collection,
            tries=claim.deliveries - 1,
        )

    async def release(self, claim: Claim, consumer: str) -> None:
        await self._of_entry(
            self._give_up,
            claim,
            consumer=consumer,
            nobody=_NOBODY,
            visibility_timeout_ms=self._visibility_timeout_ms,
        )

    async def bury(self, claim: Claim, reason: str) -> None:
        await self._of_entry(
            self._bury,
            claim,
            job_id=claim.job_id,
            collection=claim.collection,
            deliveries=claim.deliveries,
            reason=reason,
            max_dead_letters=_MOST_DEAD_LETTERS,
        )

    async def _of_entry(self, script: Script, claim: Claim, **arguments: object) -> Any:
        """Run a script on an entry; without the group nobody holds any."""
        async with answering():
            await self._ensure_group()
        return await script(self._places, group=GROUP, entry_id=claim.entry_id, **arguments)

    async def buried(self, limit: int = 100) -> list[DeadLetter]:
        async with answering():
            entries: Any = await self._client.xrevrange(self._places["dead_letters"], count=limit)
        return [
            DeadLetter(
                job_id=fields["job"],
                collection=fields["collection"],
                deliveries=int(fields["deliveries"]),
                reason=fields["reason"],
                buried_at_s=float(fields["buried_at_s"]),
            )
            for _, fields in entries
        ]

    async def depth(self) -> int:
        async with answering():
            return int(await self._client.xlen(self._places["queue"]))


def _claim(entry_id: str, fields: Mapping[str, str], deliveries: int) -> Claim:
    return Claim(entry_id, fields["job"], fields["collection"], int(fields["tries"]) + deliveries)


def _streams(answer: Any) -> list[tuple[str, list[tuple[str, dict[str, str]]]]]:
    """XREADGROUP's answer by either protocol version; empty when nothing came."""
    if isinstance(answer, dict):
        return [(stream, batch[0]) for stream, batch in answer.items()]
    return list(answer or ())
