from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from agent import environment, given, refused, started
from mcp import Client
from served_room import QUESTION, Room, Server

from deployments.generation.memory import ScriptedGenerator


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    sentence = "The tower of the lighthouse is 31 metres high [1]."
    with Server() as server:
        yield Room(server, tmp_path / "blobs", ScriptedGenerator(answers=[sentence]))


def agent(room: Room, place: Path, key: str) -> AbstractAsyncContextManager[Client]:
    return started(["mcp"], place, environment(room.url, place, key))


async def test_several_collections_are_searched_and_asked_as_one(
    room: Room, tmp_path: Path
) -> None:
    both = ["handbook", "harbour", "handbook"]
    async with agent(room, tmp_path, "key-of-a-reader") as client:
        found = await given(client, "search", query=QUESTION, collections=both, top_k=1)
        answer = await given(client, "ask", question=QUESTION, collections=both)
    [passage] = found["passages"]
    assert (passage["collection"], passage["source"]) == ("handbook", "Lighthouse.md")
    [citation] = answer["citations"]
    assert f"[{citation['number']}]" in answer["answer"]
    assert "31 metres" in citation["quote"]


async def test_an_agent_sees_what_its_key_may_see(room: Room, tmp_path: Path) -> None:
    async with agent(room, tmp_path, "key-of-a-visitor") as client:
        listed = (await given(client, "list_collections"))["collections"]
        told = await refused(client, "search", query=QUESTION, collections=["handbook"])
    assert [one["name"] for one in listed] == ["harbour"]
    assert "handbook" in told
    assert "metres" not in told
