"""The served API with a model that cites: one server and one client, a fresh API for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from served_room import KEY, LANGUAGE_MODEL, Room, Server

from deployments.generation.memory import ScriptedGenerator


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture(scope="session")
def official(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def room(server: Server, tmp_path: Path) -> Room:
    answers = ["The tower of the lighthouse is 31 metres high [1]."]
    return Room(server, tmp_path / "blobs", ScriptedGenerator(name=LANGUAGE_MODEL, answers=answers))


@pytest.fixture
def client(official: openai.OpenAI, room: Room) -> openai.OpenAI:
    """The official client, with the room behind it."""
    return official
