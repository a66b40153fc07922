"""Stores and the model fail under load: answers go on from a lower rung, and nothing is lost."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from chaos.load import Load, asking, summary
from chaos.room import COLLECTION, ChaosRoom, chaos_room

from serve_app.settings import ResilienceArgs

logger = logging.getLogger(__name__)

QUESTION = "How many days of paid holiday do full-time employees have?"
QUICK = ResilienceArgs(open_s=1.0, window_s=2.0, first_token_timeout_s=0.5, token_gap_timeout_s=0.5)
AS_SET = ResilienceArgs(first_token_timeout_s=5.0)
"""The defaults, but for a model that answers within milliseconds when it is well."""

Act = Callable[[ChaosRoom], None]


def kill_redis(room: ChaosRoom) -> None:
    room.state.kill()
    room.cache.kill()


def start_redis(room: ChaosRoom) -> None:
    room.state.start()
    room.cache.start()


def sicken(room: ChaosRoom, *, failing: float = 0.0, hanging: float = 0.0) -> None:
    assert room.model is not None
    room.model.failing, room.model.hanging = failing, hanging


SCENARIOS: dict[str, tuple[Act, Act, str | None]] = {
    "redis killed": (kill_redis, start_redis, "state_stale"),
    "redis silent": (
        lambda room: room.freeze(room.state, room.cache),
        lambda room: room.thaw(),
        "state_stale",
    ),
    "model killed": (
        lambda room: room.kill_model(),
        lambda room: room.start_model(),
        "extractive",
    ),
    "model silent": (lambda room: sicken(room, hanging=1.0), sicken, "extractive"),
    "model failing 60 %": (lambda room: sicken(room, failing=0.6), sicken, "extractive"),
    "milvus killed": (lambda room: room.milvus.kill(), lambda room: room.milvus.start(), None),
    "milvus silent": (
        lambda room: room.freeze(room.milvus),
        lambda room: room.thaw(),
        None,
    ),
}


async def outage(room: ChaosRoom, name: str, seconds: float, recovery_s: float) -> Load:
    """The load over an outage of so long, until there are whole answers again."""
    strike, heal, _ = SCENARIOS[name]
    held = await room.held()
    async with (
        room.client() as client,
        asking(client, callers=8, collection=COLLECTION, question=QUESTION) as load,
    ):
        await asked(load, 0, 10)  # the first ones make the connections
        load.mark("begin")
        await asked(load, seconds / 3, 20)
        load.mark("out")
        await asyncio.to_thread(strike, room)
        await asked(load, seconds, 40)
        await asyncio.to_thread(heal, room)
        load.mark("back")
        async with asyncio.timeout(recovery_s):
            while load.recovery_s() is None:  # noqa: ASYNC110 - the load is what is looked at
                await asyncio.sleep(0.05)
        await asyncio.sleep(seconds / 3)
    assert await room.held() == held, "data was lost"
    logger.warning("%s: %s", name, json.dumps(summary(load)))
    return load


async def asked(load: Load, seconds: float, requests: int) -> None:
    """Wait for so long, and for so many endings: a busy machine gives few in a second."""
    until = len(load.endings) + requests
    await asyncio.sleep(seconds)
    async with asyncio.timeout(60):
        while len(load.endings) < until:  # noqa: ASYNC110 - the load is what is looked at
            await asyncio.sleep(0.02)


def check(load: Load, rung: str | None) -> None:
    # On a busy machine the cache may take longer than the half second that it gets.
    before = {(ending.status, *ending.degraded) for ending in load.of("begin", "out")}
    assert before <= {(200,), (200, "uncached")}
    during = load.of("out", "back")
    # Never an error that nobody foresaw, and whoever is sent away is told when to come back.
    assert {ending.status for ending in load.endings} <= {200, 503, 504}
    refused = [ending for ending in during if ending.status == 503]
    assert all(ending.retry_after for ending in refused)
    if rung is None:
        assert refused
    else:
        assert any(rung in ending.degraded for ending in during)
        failed = [ending for ending in during if ending.status != 200]
        assert len(failed) <= 8, "a rung is below, yet more than one round of callers failed"


async def test_short_outages_under_load_are_survived(tmp_path: Path) -> None:
    async with chaos_room(tmp_path, QUICK) as room:
        for name in ("redis killed", "model failing 60 %"):
            check(await outage(room, name, seconds=1.0, recovery_s=30.0), SCENARIOS[name][2])


@pytest.mark.soak
@pytest.mark.parametrize("name", SCENARIOS)
async def test_an_outage_of_half_a_minute_under_load_is_survived(tmp_path: Path, name: str) -> None:
    async with chaos_room(tmp_path, AS_SET) as room:
        check(await outage(room, name, seconds=20.0, recovery_s=60.0), SCENARIOS[name][2])
